package client_test

import (
	"syscall"
	"testing"
	"time"

	"xvsock/manager/client"
	"xvsock/manager/port1"
	"xvsock/mux"
	"xvsock/sim"
	"xvsock/vsock"
)

var errNoBufs error = syscall.ENOBUFS

// tell has a frontend told of another one, in the place of what it was told before.
func (w *two) tell(s *script, p port1.Peer) {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	w.b.lastID++
	p.ID = w.b.lastID
	s.send(p)
}

func TestThePortsOfTheRecordsAreEnforced(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		works(t, w.x.dial(w.y.id(), 7).made())
		w.x.dial(w.y.id(), 10).fails(syscall.EACCES)
		if !w.y.client.Allowed(w.x.id(), 7) || w.y.client.Allowed(w.x.id(), 10) || w.y.client.Allowed(99, 7) {
			t.Error("Allowed tells something else than the record")
		}
		// y allows less than x believes: the responder decides for itself.
		w.tell(w.sy, record(w.x.id(), nil, ports(8, 9)))
		time.Sleep(100 * time.Millisecond)
		w.x.dial(w.y.id(), 7).fails(syscall.EACCES)
		w.x.dial(w.y.id(), 8).fails(syscall.ECONNREFUSED)
		w.y.dial(w.x.id(), 8).fails(syscall.EHOSTUNREACH)
	})
}

func TestRevocationEndsConnections(t *testing.T) {
	for name, c := range map[string]struct {
		record func(w *two) port1.Peer
		link   string
	}{
		"the domain is gone": {func(w *two) port1.Peer { return port1.Peer{Domain: w.y.id(), Gone: true} }, "unknown"},
		"nothing is allowed": {func(w *two) port1.Peer { return record(w.y.id(), nil, nil) }, "unknown"},
		"another port is":    {func(w *two) port1.Peer { return record(w.y.id(), ports(8, 8), nil) }, "up"},
		"another domain has the id": {func(w *two) port1.Peer {
			p := open(w.y.id())
			p.UUID[5] = 5
			return p
		}, "idle"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				w := newTwo(t, h)
				conn := w.x.dial(w.y.id(), 7).made()
				works(t, conn)
				if !w.x.client.Linked(w.y.id()) || w.x.client.Linked(99) {
					t.Error("Linked tells of another domain than the one that there is a link to")
				}
				acked := make(chan time.Time, 10)
				w.b.swallow(func(m any) bool {
					if _, ok := m.(port1.PeerAck); ok {
						w.x.holds(w.x.dom.Granted(), w.x.dom.Ports())
						acked <- time.Now()
					}
					return false
				})
				begin := time.Now()
				w.tell(w.sx, c.record(w))
				revoked(t, conn)
				if took := (<-acked).Sub(begin); took > time.Second {
					t.Errorf("confirmed after %v", took)
				}
				if got := w.x.state(w.y.id()); got != c.link {
					t.Errorf("link is %s, want %s", got, c.link)
				}
				if linked := w.x.client.Linked(w.y.id()); linked != (c.link == "up") {
					t.Errorf("linked to the domain of the record: %v", linked)
				}
				if c.link != "up" {
					w.x.holds(0, 0)
				}
			})
		})
	}
}

// The other side hears why, although the link ends as well; if it does not listen it
// holds the confirmation up no longer than 100 ms.
func TestARevocationIsToldToTheOtherSide(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		l, err := w.y.stack.Listen(9)
		if err != nil {
			t.Fatal(err)
		}
		w.x.dial(w.y.id(), 9).made()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		w.tell(w.sx, port1.Peer{Domain: w.y.id(), Gone: true})
		revoked(t, c.(*vsock.Conn))
		time.Sleep(time.Second)
		w.x.holds(0, 0)
	})
}

func TestARevocationWaitsForNoOtherSide(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n, s, o := accepting(t, h, client.Config{})
		s.send(o.request(n, 5))
		o.bind(next[port1.ConnectAck](s)) // whose rings nobody reads
		n.await(o.dom.ID(), "up", time.Second)
		n.dial(o.dom.ID(), 7)
		time.Sleep(100 * time.Millisecond)
		begin := time.Now()
		s.send(port1.Peer{ID: 3, Domain: o.dom.ID(), Gone: true}, open(peerID))
		if ack := next[port1.PeerAck](s); ack.ID != 0 || time.Since(begin) > 0 {
			t.Errorf("the next record is confirmed after %v, as %d", time.Since(begin), ack.ID)
		}
		next[port1.PeerAck](s)
		if took := time.Since(begin); took < 100*time.Millisecond || took > 110*time.Millisecond {
			t.Errorf("confirmed after %v", took)
		}
		n.holds(0, 0)
	})
}

// A connection that stays allowed is not disturbed, whatever else changes.
func TestALinkSurvivesANewAttachment(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		c := w.x.dial(w.y.id(), 7).made()
		p := open(w.y.id())
		p.Attachment = attachment(w.y.id(), 2)
		w.tell(w.sx, p)
		time.Sleep(time.Second)
		works(t, c)
		p.UUID = port1.UUID{} // now it is another domain
		w.tell(w.sx, p)
		revoked(t, c)
	})
}

// A domain without a uuid is known by its attachment alone.
func TestALinkWithoutAUUIDSurvivesNoNewAttachment(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		p := open(w.y.id())
		p.UUID = port1.UUID{}
		w.tell(w.sx, p)
		time.Sleep(time.Second)
		c := w.x.dial(w.y.id(), 7).made()
		works(t, c)
		w.tell(w.sx, p)
		time.Sleep(time.Second)
		works(t, c)
		p.Attachment = attachment(w.y.id(), 2)
		w.tell(w.sx, p)
		revoked(t, c)
	})
}

func TestLimitsOfTheRecordsAreKept(t *testing.T) {
	for name, c := range map[string]struct{ out, in []port1.Range }{
		"at the initiator": {[]port1.Range{{First: 7, Last: 7, Rule: 3, Conns: 2}}, ports(7, 9)},
		"at the responder": {ports(7, 9), []port1.Range{{First: 7, Last: 7, Rule: 3, Conns: 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				w := newTwo(t, h)
				w.tell(w.sx, record(w.y.id(), c.out, nil))
				w.tell(w.sy, record(w.x.id(), nil, c.in))
				time.Sleep(100 * time.Millisecond)
				first, second := w.x.dial(w.y.id(), 7).made(), w.x.dial(w.y.id(), 7).made()
				w.x.dial(w.y.id(), 7).fails(errNoBufs)
				works(t, second)
				first.Close()
				time.Sleep(10 * time.Second)
				works(t, w.x.dial(w.y.id(), 7).made())
			})
		})
	}
}

// What is open counts from the moment on in which there is a limit.
func TestANewLimitCountsWhatIsOpen(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		c := w.x.dial(w.y.id(), 7).made()
		w.tell(w.sx, record(w.y.id(), []port1.Range{{First: 7, Last: 7, Rule: 3, Conns: 1}}, nil))
		time.Sleep(100 * time.Millisecond)
		w.x.dial(w.y.id(), 7).fails(errNoBufs)
		works(t, c)
	})
}

func TestADenialByTheGuardAllocatesNothing(t *testing.T) {
	synctestless(t, func(n *node) {
		for _, kind := range []vsock.Kind{vsock.ToPeer, vsock.ToFrontend} {
			r := vsock.Request{Peer: peerID, Kind: kind, Incoming: true, Local: 7}
			if got := testing.AllocsPerRun(100, func() {
				if _, reason := n.client.Admit(r); reason != mux.ReasonUnreachable {
					t.Errorf("reason %v", reason)
				}
			}); got > 0 {
				t.Errorf("%v: %v allocations", kind, got)
			}
		}
		if _, reason := n.client.Admit(vsock.Request{Kind: vsock.ToBackend, Remote: 9}); reason != mux.ReasonNone {
			t.Errorf("to the backend: %v", reason)
		}
	})
}
