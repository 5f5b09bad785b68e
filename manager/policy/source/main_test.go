package source

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"xvsock/manager/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadline is how long a test waits for what must happen.
const deadline = time.Minute

// running is a source that runs.
type running struct {
	t       *testing.T
	applied chan string // the rules of each set, one a line
	lines   logged
	done    chan error
	state   func() State
}

// start runs a source until the test ends.
func start(t *testing.T, run func(context.Context, func(*policy.Set)) error, r *running) *running {
	t.Helper()
	r.t, r.applied, r.done = t, make(chan string, 100), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { r.done <- run(ctx, func(s *policy.Set) { r.applied <- text(s) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-r.done; err == nil {
			t.Error("Run ends with nil")
		}
	})
	return r
}

// text is the rules of a set, one a line.
func text(s *policy.Set) string {
	var b strings.Builder
	for _, r := range s.Rules() {
		fmt.Fprintf(&b, "%s:%d: %s\n", r.File, r.Line, r.Text)
	}
	return b.String()
}

// expect waits until a set is applied and compares it.
func (r *running) expect(want string) {
	r.t.Helper()
	select {
	case got := <-r.applied:
		if got != want {
			r.t.Errorf("applied %q, want %q", got, want)
		}
	case <-time.After(deadline):
		r.t.Fatalf("nothing is applied; want %q; %+v", want, r.state())
	}
}

// logged is a log that passes its lines on by message.
type logged struct {
	mu    sync.Mutex
	lines map[string]chan string
}

// of receives the lines with that message.
func (l *logged) of(message string) chan string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines == nil {
		l.lines = make(map[string]chan string)
	}
	if l.lines[message] == nil {
		l.lines[message] = make(chan string, 1000)
	}
	return l.lines[message]
}

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }

func (l *logged) Handle(_ context.Context, r slog.Record) error {
	var text strings.Builder
	r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&text, "%v ", a); return true })
	l.of(r.Message) <- text.String()
	return nil
}

func (l *logged) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *logged) WithGroup(string) slog.Handler      { return l }

// line waits for a line with that message and returns what it says.
func (r *running) line(message string) string {
	r.t.Helper()
	select {
	case text := <-r.lines.of(message):
		return text
	case <-time.After(deadline):
		r.t.Fatalf("no line %q", message)
		return ""
	}
}

const refusedLine = "policy refused, the last good one stays"
