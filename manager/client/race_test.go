package client_test

import (
	"sync"
	"testing"
	"time"

	"xvsock/link"
	"xvsock/manager/client"
	"xvsock/manager/port1"
	"xvsock/sim"
)

// during has f called once, while n's next call of that kind is under way.
func (n *node) during(op sim.Op, f func()) {
	var once sync.Once
	n.dom.Host().Hook(func(c *sim.Call) error {
		if c.Op == op && c.Process == n.proc {
			once.Do(func() {
				f()
				time.Sleep(100 * time.Millisecond)
			})
		}
		return nil
	})
}

func TestARevocationWhileAccepting(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n, s, o := accepting(t, h, client.Config{})
		n.during(sim.OpInterdomain, func() { s.send(port1.Peer{ID: 3, Domain: o.dom.ID(), Gone: true}) })
		s.send(o.request(n, 5))
		if ack := next[port1.ConnectAck](s); ack.Result != port1.Denied {
			t.Errorf("the answer is %v", ack.Result)
		}
		next[port1.PeerAck](s)
		n.holds(0, 0)
	})
}

func TestTheManagersDeathBeforeTheAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n, s, o := accepting(t, h, client.Config{})
		n.during(sim.OpInterdomain, s.die)
		s.send(o.request(n, 5))
		time.Sleep(time.Second)
		n.holds(0, 0)
	})
}

// What the next manager hears is nothing of what the one before had asked.
func TestAConfirmationBelongsToItsConversation(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n, s, o := accepting(t, h, client.Config{})
		s.send(o.request(n, 5))
		o.bind(next[port1.ConnectAck](s))
		n.await(o.dom.ID(), "up", time.Second)
		n.during(sim.OpRevoke, s.die)
		s.send(port1.Peer{ID: 3, Domain: o.dom.ID(), Gone: true})
		time.Sleep(50 * time.Millisecond)
		s = n.join()
		s.silent(900 * time.Millisecond)
		n.holds(0, 0)
	})
}

// An indication that comes after the answer to our request has not crossed it: the
// other side may still use the offer that went with the request.
func TestAnOfferServesOneRequest(t *testing.T) {
	for result, binds := range map[port1.Result]uint64{port1.TimedOut: 3, port1.Crossed: 2} {
		t.Run(result.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				n, s, o := accepting(t, h, client.Config{})
				before := n.dom.Counts()
				n.dial(o.dom.ID(), 7)
				req := next[port1.ConnectReq](s)
				ind := o.request(n, 5)
				rsp := port1.ConnectRsp{ID: req.ID, Result: result}
				if result == port1.Crossed {
					s.send(ind, rsp)
				} else {
					s.send(rsp, ind)
				}
				o.bind(next[port1.ConnectAck](s))
				n.await(o.dom.ID(), "up", time.Second)
				if got := n.dom.Counts().Minus(before).Binds; got != binds {
					t.Errorf("%d event channels, want %d", got, binds)
				}
			})
		})
	}
}

// The manager must not read that a link is not there which it may just have made.
func TestHELLOWaitsForTheAnswerToARequest(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n, s, o := accepting(t, h, client.Config{})
		s.tell(open(peerID))
		s.send(o.request(n, 5))
		o.bind(next[port1.ConnectAck](s))
		n.dial(peerID, 7)
		req := next[port1.ConnectReq](s)
		s.silent(5 * time.Second)
		s.send(port1.ConnectRsp{ID: req.ID, Result: port1.Denied})
		if m := next[port1.Hello](s); len(m.Links) != 1 {
			t.Errorf("HELLO: %+v", m)
		}
	})
}

func TestHELLOTellsOfALinkThatCameToNothing(t *testing.T) {
	for name, withdraw := range map[string]bool{"its terms are of no use": false, "it was withdrawn": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				n := newX(t, h)
				s := n.join()
				s.tell(open(peerID))
				s.complete()
				n.dial(peerID, 7)
				req := next[port1.ConnectReq](s)
				if withdraw {
					s.tell(port1.Peer{Domain: peerID, Gone: true})
				}
				s.send(port1.ConnectRsp{ID: req.ID, Terms: req.Terms})
				if m := next[port1.Hello](s); len(m.Links) != 0 {
					t.Errorf("HELLO: %+v", m)
				}
			})
		})
	}
}

// A manager that tells of one domain without end, faster than its link can be taken
// down, is cut off.
func TestRecordsThatCannotBeObeyedAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n, s, o := accepting(t, h, client.Config{})
		s.send(o.request(n, 5))
		o.bind(next[port1.ConnectAck](s))
		n.await(o.dom.ID(), "up", time.Second)
		n.during(sim.OpRevoke, func() {})
		var all []message // at once: what comes later may find the link cut
		for id := range uint64(70) {
			all = append(all, port1.Peer{ID: id, Domain: o.dom.ID(), Gone: true})
		}
		s.send(all...)
		s.ended(link.Broken, time.Second)
		time.Sleep(time.Second)
		n.holds(0, 0)
	})
}

func TestThereIsOneConversationAtATime(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n := newX(t, h)
		s := n.join()
		s.complete()
		a, b, err := link.Loop(t0, link.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.client.Join(t.Context(), n.stack, a, nil); err == nil || a.Err() == nil {
			t.Errorf("a second Join returns %v", err)
		}
		s.silent(time.Second)
		if s.front.Err() != nil {
			t.Errorf("the first conversation: %v", s.front.Err())
		}
		a.Close()
		b.Close()
	})
}
