package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// maxTranscript bounds in bytes what is kept of a console or a command's
// output; logs on disk have all of it.
const maxTranscript = 64 << 20

// ErrEnded says that what was waited for cannot come: the command has ended
// or the host is gone.
var ErrEnded = errors.New("ended")

// Transcript is what a console or a command has said so far. Carriage returns
// are left out. It may be used from many goroutines.
type Transcript struct {
	log io.Writer // gets a copy; nil for none

	mu      sync.Mutex
	text    []byte
	mark    int // where Expect goes on
	cut     bool
	ended   bool
	changed chan struct{} // closed and replaced at each change
}

func newTranscript(log io.Writer) *Transcript {
	return &Transcript{log: log, changed: make(chan struct{})}
}

// Write adds p. It never fails, so that a full disk stops no scenario.
func (t *Transcript) Write(p []byte) (int, error) {
	clean := bytes.ReplaceAll(p, []byte("\r"), nil)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.log != nil {
		_, _ = t.log.Write(clean)
	}
	if room := maxTranscript - len(t.text); len(clean) > room {
		clean, t.cut = clean[:room], true
	}
	t.text = append(t.text, clean...)
	t.announce()
	return len(p), nil
}

// end says that nothing more will come.
func (t *Transcript) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.ended = true
		t.announce()
	}
}

func (t *Transcript) announce() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// String gives all that was said.
func (t *Transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// Tail gives the last n lines.
func (t *Transcript) Tail(n int) string { return tail(t.String(), n) }

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// length is how many bytes of it there are.
func (t *Transcript) length() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.text)
}

// Contains reports whether text was said.
func (t *Transcript) Contains(text string) bool { return strings.Contains(t.String(), text) }

// truncated reports whether more was said than is kept.
func (t *Transcript) truncated() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cut
}

// skip makes Expect go on after all that was said so far.
func (t *Transcript) skip() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mark = len(t.text)
}

// Expect waits for a whole line that contains text, after the line that the
// last Expect found, and gives it without its end.
func (t *Transcript) Expect(ctx context.Context, text string) (string, error) {
	for {
		line, ended, changed := t.next(text)
		switch {
		case line != "":
			return line, nil
		case ended:
			return "", fmt.Errorf("expect %q: %w; the last lines were:\n%s", text, ErrEnded, t.Tail(tailLines))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", fmt.Errorf("expect %q: %w; the last lines were:\n%s", text, context.Cause(ctx), t.Tail(tailLines))
		}
	}
}

// await waits for a whole line that contains text and was said after the first from
// bytes, and gives it without its end. Unlike Expect it leaves Expect's place alone.
func (t *Transcript) await(ctx context.Context, from int, text string) (string, error) {
	for {
		line, ended, changed := t.find(from, text)
		switch {
		case line != "":
			return line, nil
		case ended:
			return "", fmt.Errorf("wait for %q: %w", text, ErrEnded)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", fmt.Errorf("wait for %q: %w", text, context.Cause(ctx))
		}
	}
}

// find looks for a line with text after the first from bytes.
func (t *Transcript) find(from int, text string) (line string, ended bool, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	begin, end, ok := t.line(from, text)
	if !ok {
		return "", t.ended, t.changed
	}
	return string(t.text[begin:end]), false, nil
}

// next looks for the next line with text and moves the mark past it.
func (t *Transcript) next(text string) (line string, ended bool, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	begin, end, ok := t.line(t.mark, text)
	if !ok {
		return "", t.ended, t.changed
	}
	t.mark = min(end+1, len(t.text))
	return string(t.text[begin:end]), false, nil
}

// line gives the bounds of the first line with text after the first from bytes. An
// unfinished line counts once nothing more can come. The caller holds mu.
func (t *Transcript) line(from int, text string) (begin, end int, ok bool) {
	at := bytes.Index(t.text[from:], []byte(text))
	if at < 0 {
		return 0, 0, false
	}
	at += from
	begin = bytes.LastIndexByte(t.text[:at], '\n') + 1
	length := bytes.IndexByte(t.text[at:], '\n')
	if length < 0 {
		if !t.ended {
			return 0, 0, false
		}
		length = len(t.text) - at
	}
	return begin, at + length, true
}
