package manager

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"xvsock/link"
	"xvsock/manager/port1"
)

// faulty is a connection in which a bug of ours strikes.
type faulty struct {
	tape
	reading bool // else writing
	closed  chan struct{}
	once    sync.Once
}

func (c *faulty) Read(b []byte) (int, error) {
	if c.reading {
		panic("a bug in the reader")
	}
	if len(c.in) > 0 {
		return c.tape.Read(b)
	}
	<-c.closed
	return 0, errors.New("closed")
}

func (c *faulty) Write([]byte) (int, error) { panic("a bug in the writer") }

func (c *faulty) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// stacks is a log that keeps the stacks of bugs.
type stacks struct {
	slog.Handler
	mu  sync.Mutex
	all []string
}

func (s *stacks) Enabled(context.Context, slog.Level) bool { return true }

func (s *stacks) Handle(_ context.Context, r slog.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "stack" {
			s.all = append(s.all, a.Value.String())
		}
		return true
	})
	return nil
}

// Rule R16.
func TestABugInAConversationEndsThatLinkAlone(t *testing.T) {
	for name, reading := range map[string]bool{"in the reader": true, "in the writer": false} {
		t.Run(name, func(t *testing.T) {
			log := &stacks{}
			d := newDesk(2, Budgets{}, "7 * * allow")
			d.log = slog.New(log)
			b := d.join(2)
			a := d.open(1, &faulty{tape: tape{in: port1.Hello{ID: 1}.Append(nil)}, reading: reading, closed: make(chan struct{})})
			a.run(t.Context())
			if err := a.link.Err(); link.CauseOf(err) != link.Broken || !errors.Is(err, errBug) {
				t.Errorf("its link: %v", err)
			}
			if len(log.all) != 1 || !strings.Contains(log.all[0], "faulty") {
				t.Errorf("logged with stacks %q", log.all)
			}
			if b.link.Err() != nil || b.left || !a.left {
				t.Errorf("the other's link: %v", b.link.Err())
			}
			b.hears(t, "PEER 1, HELLO") // nothing is locked
		})
	}
}
