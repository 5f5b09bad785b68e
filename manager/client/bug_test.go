package client_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xvsock/link"
	"xvsock/manager/client"
	"xvsock/manager/port1"
	"xvsock/sim"
)

// trap is a log that panics once, at one message, and keeps the reports of bugs.
type trap struct {
	at   string
	once sync.Once

	mu     sync.Mutex
	stacks []string
}

func (*trap) Enabled(context.Context, slog.Level) bool { return true }
func (l *trap) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l *trap) WithGroup(string) slog.Handler          { return l }

func (l *trap) Handle(_ context.Context, r slog.Record) error {
	if r.Message == l.at {
		l.once.Do(func() { panic("a bug") })
	}
	if r.Level == slog.LevelError {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "stack" {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.stacks = append(l.stacks, a.Value.String())
			}
			return true
		})
	}
	return nil
}

// reported checks that one bug was, with its stack.
func (l *trap) reported(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.stacks) != 1 || !strings.Contains(l.stacks[0], "_test.go") {
		t.Errorf("bugs reported: %q", l.stacks)
	}
}

// The last resort against a bug that the manager has found (rule R16).
func TestABugInTheConversationBreaksTheFrontLinkAlone(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		said := &trap{at: "refuse a link"}
		n, s, o := accepting(t, h, client.Config{Log: slog.New(said)})
		s.send(o.request(n, 5))
		o.bind(next[port1.ConnectAck](s))
		n.await(o.dom.ID(), "up", time.Second)
		m := o.request(n, 6)
		m.Domain++
		s.send(m)
		s.ended(link.Broken, time.Second)
		<-s.met
		said.reported(t)
		if got := n.state(o.dom.ID()); got != "up" {
			t.Errorf("the peer link is %s", got)
		}
		s = n.join()
		s.tell(open(o.dom.ID()))
		s.complete()
		if len(s.hello.Links) != 1 {
			t.Errorf("HELLO: %+v", s.hello)
		}
	})
}

func TestABugInALinkBreaksThatLinkAlone(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		said := &trap{at: "link is up"}
		n, s, o := accepting(t, h, client.Config{Log: slog.New(said)})
		id := o.dom.ID()
		s.send(o.request(n, 5))
		o.take(next[port1.ConnectAck](s)) // our side of the link is gone as soon as it is up
		time.Sleep(time.Second)
		said.reported(t)
		n.holds(0, 0)
		n.dial(id, 7).fails(syscall.EHOSTUNREACH) // BROKEN: not before 30 s are over
		s.send(o.request(n, 6))
		if ack := next[port1.ConnectAck](s); ack.Result != port1.Refused {
			t.Errorf("a link after a bug is answered %v", ack.Result)
		}
		second := newOther(t, h)
		s.tell(open(second.dom.ID()))
		s.send(second.request(n, 7))
		second.bind(next[port1.ConnectAck](s))
		n.await(second.dom.ID(), "up", time.Second)
		time.Sleep(31 * time.Second)
		s.send(o.request(n, 8))
		o.bind(next[port1.ConnectAck](s))
		n.await(id, "up", time.Second)
		if s.front.Err() != nil {
			t.Errorf("front link: %v", s.front.Err())
		}
	})
}

// Wherever an attempt ends by a bug: it is answered, and nothing stays behind.
func TestABugInAnAttemptEndsThatAlone(t *testing.T) {
	for op, results := range map[sim.Op]port1.Result{
		sim.OpUnbound: port1.Refused, sim.OpInterdomain: port1.Refused, sim.OpCopy: port1.Refused,
	} {
		t.Run(op.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				said := new(trap)
				n, s, o := accepting(t, h, client.Config{Log: slog.New(said), MaxLinks: 1})
				n.during(op, func() { panic("a bug") })
				s.send(o.request(n, 5))
				answered(t, s.answers(time.Second), 5, results)
				said.reported(t)
				n.holds(0, 0)
				n.dial(o.dom.ID(), 7).fails(syscall.EHOSTUNREACH)
				time.Sleep(31 * time.Second)
				s.send(o.request(n, 6))
				o.bind(next[port1.ConnectAck](s))
				if s.front.Err() != nil {
					t.Errorf("front link: %v", s.front.Err())
				}
			})
		})
	}
}
