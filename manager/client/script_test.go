package client_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"xvsock/evtchn"
	"xvsock/link"
	"xvsock/manager/client"
	"xvsock/manager/port1"
	"xvsock/sim"
	"xvsock/xen"
)

// peerID is the domain that the scripts tell of.
const peerID xen.DomID = 77

// open is a record that allows everything of domain id, both ways.
func open(id xen.DomID) port1.Peer { return record(id, ports(2, 9999), ports(2, 9999)) }

// newX is a frontend in a domain of its own.
func newX(t *testing.T, h *sim.Host) *node {
	return newNode(t, h.Create(sim.DomainConfig{Name: "x"}))
}

// What the manager must not send, and in which state of the conversation. The front
// link ends BROKEN, and nothing is left behind.
func TestLiesOfTheManagerBreakTheFrontLink(t *testing.T) {
	self := func(n *node) xen.DomID { return n.id() }
	for name, lie := range map[string]func(n *node, s *script){
		"a HELLO that answers none of ours": func(_ *node, s *script) { s.send(port1.Hello{ID: s.hello.ID + 1}) },
		"a HELLO with links": func(_ *node, s *script) {
			s.send(port1.Hello{ID: s.hello.ID, Links: []port1.Live{{Generation: 1}}})
		},
		"a second HELLO":       func(_ *node, s *script) { s.complete(); s.send(port1.Hello{ID: s.hello.ID}) },
		"a PEER_ack":           func(_ *node, s *script) { s.send(port1.PeerAck{ID: 1}) },
		"a CONNECT_req":        func(_ *node, s *script) { s.send(port1.ConnectReq{ID: 1, Domain: peerID, Port: 7}) },
		"a CONNECT_ack":        func(_ *node, s *script) { s.send(port1.ConnectAck{ID: 1}) },
		"an answer to nothing": func(_ *node, s *script) { s.send(port1.ConnectRsp{ID: 1, Result: port1.Denied}) },
		"a PEER of the domain itself": func(n *node, s *script) {
			p := open(self(n))
			p.ID = 1
			s.send(p)
		},
		"a malformed header": func(_ *node, s *script) { s.conn.Write(make([]byte, port1.HeaderSize)) },
		"a malformed PEER": func(_ *node, s *script) {
			b := open(peerID).Append(nil)
			b[18] = 2 // gone
			s.conn.Write(b)
		},
		"a second answer to one request": func(n *node, s *script) {
			s.tell(open(peerID))
			s.complete()
			n.dial(peerID, 7)
			id := next[port1.ConnectReq](s).ID
			s.send(port1.ConnectRsp{ID: id, Result: port1.Denied}, port1.ConnectRsp{ID: id, Result: port1.Denied})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				n := newX(t, h)
				s := n.join()
				lie(n, s)
				s.ended(link.Broken, time.Second)
				if err := <-s.met; err != nil {
					t.Errorf("Join returns %v", err)
				}
				n.holds(0, 0)
				// The next front link is as good as the first.
				s = n.join()
				s.tell(open(peerID))
				s.complete()
			})
		})
	}
}

func TestAnAnswerOfAnEarlierConversationIsALie(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n := newX(t, h)
		s := n.join()
		s.tell(open(peerID))
		s.complete()
		n.dial(peerID, 7)
		req := next[port1.ConnectReq](s)
		s.die()
		n.holds(0, 0)
		s = n.join()
		s.send(port1.ConnectRsp{ID: req.ID, Result: port1.Denied})
		s.ended(link.Broken, time.Second)
	})
}

func TestTooManyRecordsBreakTheFrontLink(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n := newX(t, h)
		s := n.join()
		for id := range xen.DomID(4096) {
			s.tell(open(1000 + id))
		}
		if got := len(n.client.Peers()); got != 4096 {
			t.Fatalf("%d records", got)
		}
		p := open(9000)
		s.send(p)
		s.ended(link.Broken, time.Second)
	})
}

// The end of patience with a manager: the front link is LOST, so that it is made
// again at once.
func TestSilenceOfTheManagerLosesTheFrontLink(t *testing.T) {
	for name, c := range map[string]struct {
		do    func(n *node, s *script)
		after time.Duration
	}{
		"no HELLO": {func(*node, *script) {}, 10 * time.Second},
		"no answer to a request": {func(n *node, s *script) {
			s.tell(open(peerID))
			s.complete()
			n.dial(peerID, 7)
			next[port1.ConnectReq](s)
		}, 10 * time.Second},
		"half a message": {func(_ *node, s *script) {
			s.complete()
			s.conn.Write(open(peerID).Append(nil)[:100])
		}, 5 * time.Second},
		"the connection is closed": {func(_ *node, s *script) { s.conn.Close() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				n := newX(t, h)
				s := n.join()
				begin := time.Now()
				c.do(n, s)
				s.ended(link.Lost, time.Minute)
				if took := time.Since(begin); took < c.after || took > c.after+time.Second {
					t.Errorf("it took %v, want %v", took, c.after)
				}
				n.holds(0, 0)
			})
		})
	}
}

// What each answer of the manager is to a Dial.
func TestResultsAreTheErrnosOfDial(t *testing.T) {
	for result, want := range map[port1.Result]error{
		port1.Denied:       syscall.EACCES,
		port1.Unreachable:  syscall.EHOSTUNREACH,
		port1.Budget:       syscall.ENOBUFS,
		port1.TimedOut:     syscall.ETIMEDOUT,
		port1.Refused:      syscall.ECONNREFUSED,
		port1.Forbidden:    link.ErrForbidden,
		port1.ShuttingDown: syscall.ECONNREFUSED,
	} {
		t.Run(result.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				n := newX(t, h)
				s := n.join()
				s.tell(open(peerID))
				s.complete()
				done := make(chan error, 1)
				go func() { done <- n.client.Connect(t.Context(), peerID, 7) }()
				req := next[port1.ConnectReq](s)
				if req.Domain != peerID || req.Attachment != attachment(peerID, 1) || req.Port != 7 {
					t.Errorf("request: %+v", req)
				}
				n.holds(linkPages, 1)
				s.send(port1.ConnectRsp{ID: req.ID, Result: result})
				err := <-done
				if !errors.Is(err, want) {
					t.Errorf("Connect: %v, want %v", err, want)
				}
				if result == port1.Forbidden && !errors.Is(err, syscall.EHOSTUNREACH) {
					t.Errorf("Connect: %v, want EHOSTUNREACH too", err)
				}
				n.holds(0, 0)
				n.await(peerID, "idle", 0)
			})
		})
	}
}

// CROSSED announces an indication; if none comes the Dial asks again.
func TestCROSSEDIsNoAnswerToADial(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n := newX(t, h)
		s := n.join()
		s.tell(open(peerID))
		s.complete()
		d := n.dial(peerID, 7)
		s.send(port1.ConnectRsp{ID: next[port1.ConnectReq](s).ID, Result: port1.Crossed})
		s.send(port1.ConnectRsp{ID: next[port1.ConnectReq](s).ID, Result: port1.Denied})
		d.fails(syscall.EACCES)
		n.holds(0, 0)
	})
}

// What this side cannot do, and what the hypervisor forbids, is said to both.
func TestFailuresOfThisSide(t *testing.T) {
	for name, c := range map[string]struct {
		fault error
		dial  error
		ack   port1.Result
	}{
		"out of event channels": {evtchn.ErrNoPorts, syscall.ENOBUFS, port1.Refused},
		"XSM":                   {syscall.EPERM, link.ErrForbidden, port1.Forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				n, s, o := accepting(t, h, client.Config{})
				ind := o.request(n, 5)
				h.Hook(func(call *sim.Call) error {
					if call.Op == sim.OpUnbound && call.Process == n.proc {
						return c.fault
					}
					return nil
				})
				if err := n.client.Connect(t.Context(), o.dom.ID(), 7); !errors.Is(err, c.dial) {
					t.Errorf("Connect: %v, want %v", err, c.dial)
				}
				s.send(ind)
				if ack := next[port1.ConnectAck](s); ack.Result != c.ack {
					t.Errorf("the answer is %v, want %v", ack.Result, c.ack)
				}
				n.holds(0, 0)
			})
		})
	}
}

func TestWhatIsNotAllowedIsNotAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n := newX(t, h)
		n.dial(peerID, 7).fails(syscall.EHOSTUNREACH) // before there is a manager
		s := n.join()
		s.tell(record(peerID, ports(7, 9), nil), record(78, nil, ports(7, 9)))
		s.complete()
		n.dial(peerID, 6).fails(syscall.EACCES)
		n.dial(78, 7).fails(syscall.EHOSTUNREACH)
		n.dial(79, 7).fails(syscall.EHOSTUNREACH)
		s.silent(time.Second)
		n.holds(0, 0)
	})
}

func TestADeniedDialAllocatesNothing(t *testing.T) {
	synctestless(t, func(n *node) {
		for _, port := range []uint32{7, 6} {
			if got := testing.AllocsPerRun(100, func() { n.client.Connect(t.Context(), peerID, port) }); got > 0 {
				t.Errorf("port %d: %v allocations", port, got)
			}
		}
	})
}

// A link that the peer has lied about is not tried again for 30 s, and a Dial does
// not wait for that.
func TestALyingPeerIsLeftAlone(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n, s, evil := accepting(t, h, client.Config{})
		id := evil.dom.ID()
		answer := func() {
			d := n.dial(id, 7)
			req := next[port1.ConnectReq](s)
			s.send(port1.ConnectRsp{ID: req.ID, Terms: port1.Terms{Generation: req.Terms.Generation, Header: 3000}})
			d.fails(syscall.EHOSTUNREACH)
			n.holds(0, 0)
		}
		answer()
		begin := time.Now()
		n.dial(id, 7).fails(syscall.EHOSTUNREACH)
		if time.Since(begin) > 0 {
			t.Error("the Dial waits")
		}
		s.send(evil.request(n, 1))
		if ack := next[port1.ConnectAck](s); ack.Result != port1.Refused {
			t.Errorf("its own request is answered %v", ack.Result)
		}
		n.holds(0, 0)
		time.Sleep(31 * time.Second)
		answer()
	})
}

func TestADialWaitsForTheFrontLink(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n := newX(t, h)
		s := n.join()
		s.tell(open(peerID))
		s.complete()
		s.die()
		d := n.dial(peerID, 7)
		n.holds(0, 0)
		s = n.join()
		req := next[port1.ConnectReq](s)
		n.holds(linkPages, 1)
		// The manager dies while it is asked: what was offered is taken back, and
		// offered again to the next.
		s.die()
		n.holds(0, 0)
		s = n.join()
		again := next[port1.ConnectReq](s)
		if again.ID == req.ID || again.Terms.Generation == req.Terms.Generation {
			t.Errorf("the same request again: %+v", again)
		}
		s.send(port1.ConnectRsp{ID: again.ID, Result: port1.Denied})
		d.fails(syscall.EACCES)
		n.holds(0, 0)
	})
}

func TestADialThatNobodyWaitsForAsksForNothing(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n := newX(t, h)
		s := n.join()
		s.tell(open(peerID))
		s.complete()
		s.die()
		n.dial(peerID, 7).fails(syscall.ETIMEDOUT)
		s = n.join()
		s.tell(open(peerID))
		s.silent(time.Second)
		n.holds(0, 0)
	})
}

// A request outlives the Dial that it was made for; the next Dial joins it.
func TestOneRequestAPeerIsOutstanding(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n := newX(t, h)
		s := n.join()
		s.tell(open(peerID))
		s.complete()
		n.dial(peerID, 7)
		req := next[port1.ConnectReq](s)
		s.tell(port1.Peer{Domain: peerID, Gone: true}) // what was offered goes
		n.holds(0, 0)
		s.tell(open(peerID))
		d := n.dial(peerID, 8)
		s.silent(time.Second)
		s.send(port1.ConnectRsp{ID: req.ID, Terms: req.Terms}) // too late
		second := next[port1.ConnectReq](s)
		s.send(port1.ConnectRsp{ID: second.ID, Result: port1.Budget})
		d.fails(syscall.ENOBUFS)
		n.holds(0, 0)
	})
}

func TestPEERsOfTheBackendAreConfirmedAndNoMore(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n := newX(t, h)
		s := n.join()
		s.tell(open(0), open(peerID))
		s.complete()
		if all := n.client.Peers(); len(all) != 1 || all[0].Domain != peerID {
			t.Errorf("peers: %+v", all)
		}
		s.die()
		// The backend moves to the domain that was a peer.
		s = n.joinWith(peerID)
		if all := n.client.Peers(); len(all) != 0 {
			t.Errorf("peers: %+v", all)
		}
		s.complete()
	})
}

func TestCloseEndsTheConversationAndWhatWaits(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n := newX(t, h)
		s := n.join()
		s.tell(open(peerID))
		s.complete()
		d := n.dial(peerID, 7)
		next[port1.ConnectReq](s)
		n.client.Close()
		if err := <-s.met; err != nil {
			t.Errorf("Join returns %v", err)
		}
		<-d.done
		n.holds(0, 0)
		if err := n.client.Join(t.Context(), n.stack, s.front, nil); err == nil {
			t.Error("Join after Close succeeds")
		}
	})
}

// A record that comes again brings no new trust, a new domain with the id does.
func TestALieIsRememberedForTheDomainThatLied(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n, s, o := accepting(t, h, client.Config{})
		m := o.request(n, 1)
		m.Terms.Generation++
		s.send(m)
		next[port1.ConnectAck](s)
		id := o.dom.ID()
		s.tell(port1.Peer{Domain: id, Gone: true}, open(id))
		n.dial(id, 7).fails(syscall.EHOSTUNREACH)
		s.silent(time.Second)
		p := open(id)
		p.UUID[7]++
		s.tell(p)
		n.dial(id, 7)
		next[port1.ConnectReq](s)
	})
}

// The confirmations of what a manager tells wait until it reads, and the reader of
// what it tells does not wait for that. One that never reads loses the front link.
func TestAManagerThatDoesNotRead(t *testing.T) {
	for name, c := range map[string]struct {
		peers int
		after time.Duration
	}{
		"a flood is too much for the queue": {30000, 0},
		"less has the time of a write":      {6000, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				n := newX(t, h)
				s := n.joinDeaf()
				s.send(port1.Hello{ID: 1})
				begin := time.Now()
				p := open(peerID)
				for i := range c.peers {
					if p.ID = uint64(i); s.front.Err() == nil {
						s.write.Write(p.Append(nil))
					}
				}
				s.ended(link.Lost, time.Minute)
				if took := time.Since(begin); took < c.after || took > c.after+time.Second {
					t.Errorf("it took %v, want %v", took, c.after)
				}
			})
		})
	}
}
