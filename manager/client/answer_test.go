package client_test

import (
	"testing"
	"time"

	"xvsock/link"
	"xvsock/manager/client"
	"xvsock/manager/port1"
	"xvsock/sim"
)

// answers collects what the frontend answers to indications within d.
func (s *script) answers(d time.Duration) map[uint64][]port1.Result {
	all := make(map[uint64][]port1.Result)
	for end := time.After(d); ; {
		select {
		case m := <-s.in:
			if a, is := m.(port1.ConnectAck); is {
				all[a.ID] = append(all[a.ID], a.Result)
			}
		case <-end:
			return all
		}
	}
}

// answered checks that an indication was answered once, and how.
func answered(t *testing.T, all map[uint64][]port1.Result, id uint64, want port1.Result) {
	t.Helper()
	if got := all[id]; len(got) != 1 || got[0] != want {
		t.Errorf("the answers to %d are %v, want %v", id, got, want)
	}
}

// exhaust uses up what the Ledger lets be made at once, and waits until the next
// link has to wait a moment only.
func exhaust(n *node, s *script, o *other) {
	for id := uint64(1000); ; id++ {
		s.send(o.request(n, id))
		if next[port1.ConnectAck](s).Result == port1.Refused {
			break
		}
	}
	time.Sleep(3500 * time.Millisecond)
}

// The manager counts what is not answered, and in the end asks no more.
func TestAnIndicationThatIsReplacedIsRefused(t *testing.T) {
	for name, send := range map[string]func(n *node, s *script, o *other){
		"while it waits for its time": func(n *node, s *script, o *other) {
			exhaust(n, s, o)
			s.send(o.request(n, 5))
			time.Sleep(300 * time.Millisecond)
			s.send(o.request(n, 6))
		},
		"while the link before it is taken down": func(n *node, s *script, o *other) {
			s.send(o.request(n, 4))
			o.bind(next[port1.ConnectAck](s))
			n.await(o.dom.ID(), "up", time.Second)
			n.during(sim.OpRevoke, func() { s.send(o.request(n, 6)) })
			s.send(o.request(n, 5))
		},
		"while its link is made": func(n *node, s *script, o *other) {
			n.during(sim.OpInterdomain, func() { s.send(o.request(n, 6)) })
			s.send(o.request(n, 5))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				n, s, o := accepting(t, h, client.Config{})
				send(n, s, o)
				all := s.answers(20 * time.Second)
				answered(t, all, 5, port1.Refused)
				answered(t, all, 6, port1.OK)
			})
		})
	}
}

// What has changed while an indication waits is looked at before it is answered
// (rules R5, R9).
func TestAnIndicationIsJudgedAgainWhenItsTimeHasCome(t *testing.T) {
	wait := func(change func(o *other) port1.Peer) func(n *node, s *script, o *other) {
		return func(n *node, s *script, o *other) {
			exhaust(n, s, o)
			s.send(o.request(n, 5), change(o))
		}
	}
	for name, c := range map[string]struct {
		send func(n *node, s *script, o *other)
		want port1.Result
	}{
		"nothing has": {wait(func(o *other) port1.Peer { return open(o.dom.ID()) }), port1.OK},
		"the port is not allowed any more": {wait(func(o *other) port1.Peer {
			return record(o.dom.ID(), ports(2, 9999), ports(8, 9999))
		}), port1.Denied},
		"the domain is attached anew": {wait(func(o *other) port1.Peer {
			p := open(o.dom.ID())
			p.Attachment = attachment(p.Domain, 2)
			return p
		}), port1.Denied},
		"the domain has lied": {func(n *node, s *script, o *other) {
			s.send(o.request(n, 4))
			l := o.bind(next[port1.ConnectAck](s))
			n.await(o.dom.ID(), "up", time.Second)
			n.during(sim.OpRevoke, func() { s.send(o.request(n, 5)) })
			lie(l)
		}, port1.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				n, s, o := accepting(t, h, client.Config{})
				c.send(n, s, o)
				answered(t, s.answers(20*time.Second), 5, c.want)
				n.holds(0, 0)
			})
		})
	}
}

// lie sends what is no frame.
func lie(l *link.Link) {
	a, _ := l.Reserve(64)
	for i := range a[:64] {
		a[i] = 0xff
	}
	l.Commit(64)
	l.Flush()
}

// One that crosses our request is answered with our offer, as the record is then.
func TestACrossingIndicationIsJudgedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n, s, o := accepting(t, h, client.Config{})
		n.during(sim.OpInterdomain, func() { s.send(record(o.dom.ID(), ports(2, 9999), nil)) })
		n.dial(o.dom.ID(), 7)
		req := next[port1.ConnectReq](s)
		s.send(o.request(n, 5), port1.ConnectRsp{ID: req.ID, Result: port1.Crossed})
		answered(t, s.answers(time.Second), 5, port1.Denied)
	})
}
