package rig

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// logs is the directory in which one run is logged.
type logs struct {
	dir   string
	begin time.Time

	mu       sync.Mutex
	files    []*os.File
	commands *os.File
}

// newLogs empties dir and logs into it.
func newLogs(dir string) (*logs, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("make the log directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the log directory: %w", err)
	}
	l := &logs{dir: dir, begin: time.Now()}
	f, err := l.open("commands.log")
	if err != nil {
		return nil, err
	}
	l.commands = f
	return l, nil
}

// open makes a log file, which close will close.
func (l *logs) open(name string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(l.dir, safeName(name)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = append(l.files, f)
	return f, nil
}

// timed is open for what is said in lines: each gets the time before it, in
// seconds since the start, the same as in the log of commands.
func (l *logs) timed(name string) (io.Writer, error) {
	f, err := l.open(name)
	if err != nil {
		return nil, err
	}
	return &timedWriter{to: f, begin: l.begin, atStart: true}, nil
}

// optional is timed for a log that a scenario can do without: nil on error.
func (l *logs) optional(name string) io.Writer {
	w, err := l.timed(name)
	if err != nil {
		l.event("%v", err)
		return nil
	}
	return w
}

// timedWriter writes the time at the start of each line.
type timedWriter struct {
	to      io.Writer
	begin   time.Time
	atStart bool
}

func (w *timedWriter) Write(p []byte) (int, error) {
	var out []byte
	for line := range bytes.Lines(p) {
		if w.atStart {
			out = fmt.Appendf(out, "%8.3f ", time.Since(w.begin).Seconds())
		}
		out = append(out, line...)
		w.atStart = bytes.HasSuffix(line, []byte("\n"))
	}
	if _, err := w.to.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// event adds one line to the log of commands.
func (l *logs) event(format string, args ...any) {
	text := strings.TrimRight(fmt.Sprintf(format, args...), "\n")
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.commands, "%8.3f %s\n", time.Since(l.begin).Seconds(), text)
}

func (l *logs) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files {
		_ = f.Close()
	}
}

// safeName makes s a single file name.
func safeName(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == '/' || r == 0x7f || r > 0x7f {
			return '_'
		}
		return r
	}, s)
}
