package payload

import (
	"bytes"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	maxLine   = 1 << 10
	lineRate  = 10 // a second
	lineBurst = 100
	endRate   = 1 // a second
	endBurst  = 10
)

// voice is what the programs of one service may say in the log: what they write, and
// how they end. Both are bounded, because a peer can make a program write and end, and
// the log that it shares with the rest of the domain keeps so many records and no more.
type voice struct {
	log     *slog.Logger
	lines   *rate.Limiter
	events  *rate.Limiter
	dropped atomic.Uint64 // lines since it was last said
	unsaid  atomic.Uint64 // events since
}

func newVoice(log *slog.Logger) *voice {
	return &voice{log: log, lines: rate.NewLimiter(lineRate, lineBurst), events: rate.NewLimiter(endRate, endBurst)}
}

// warn says what went wrong, but not too often.
func (v *voice) warn(msg string, args ...any) {
	if !v.events.Allow() {
		v.unsaid.Add(1)
		return
	}
	if n := v.unsaid.Swap(0); n > 0 {
		args = append(args, "not_said", n)
	}
	v.log.Warn(msg, args...)
}

// ended says how a program ended. One that we stopped ended as it should.
func (v *voice) ended(p *program) {
	status := "exit status 0"
	err := p.status()
	if err != nil {
		status = err.Error()
	}
	args := []any{"pid", p.process.PID(), "status", status, "took", p.took.Round(time.Millisecond)}
	if err == nil || p.stopped.Load() {
		v.log.Debug("program ended", args...)
	} else {
		v.warn("program ended", args...)
	}
}

// line says one line of a program.
func (v *voice) line(pid int, text []byte, cut bool) {
	if !v.lines.Allow() {
		v.dropped.Add(1)
		return
	}
	v.owe()
	args := []any{"pid", pid, "text", string(text)}
	if cut {
		args = append(args, "cut", true)
	}
	v.log.Info("program says", args...)
}

// owe says how many lines were dropped, if any.
func (v *voice) owe() {
	if n := v.dropped.Swap(0); n > 0 {
		v.log.Warn("lines of programs dropped", "lines", n)
	}
}

// lines cuts what one program writes into lines. It implements sink, and never fails
// nor waits.
type lines struct {
	voice *voice
	pid   int
	line  []byte
	cut   bool // the line goes on beyond what is kept
}

func (l *lines) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		part, after, whole := bytes.Cut(rest, []byte{'\n'})
		rest = after
		room := maxLine - len(l.line)
		l.cut = l.cut || len(part) > room
		l.line = append(l.line, part[:min(room, len(part))]...)
		if whole {
			l.say()
		}
	}
	return len(p), nil
}

// SetWriteDeadline implements sink.
func (*lines) SetWriteDeadline(time.Time) error { return nil }

func (l *lines) say() {
	if text := bytes.TrimSuffix(l.line, []byte{'\r'}); len(text) > 0 {
		l.voice.line(l.pid, text, l.cut)
	}
	l.line, l.cut = l.line[:0], false
}

// flush says what is left, at the program's end.
func (l *lines) flush() {
	l.say()
	if l.voice.events.Allow() {
		l.voice.owe()
	}
}
