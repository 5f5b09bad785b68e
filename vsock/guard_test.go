package vsock_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/mux"
	"xvsock/vsock"
)

// guardFunc is a Guard that says why a connection may not be, without permits.
type guardFunc func(r vsock.Request) mux.Reason

func (f guardFunc) Admit(r vsock.Request) (mux.Permit, mux.Reason) { return nil, f(r) }

func (f guardFunc) Review(r vsock.Request, _ mux.Permit) (mux.Permit, mux.Reason) { return nil, f(r) }

// doorman is a Guard with a rule that can change: the ports that are closed.
type doorman struct {
	mu     sync.Mutex
	closed map[uint32]mux.Reason
	asked  []vsock.Request // by Admit
	review []vsock.Request
	inside int // permits not released
	before func()
}

// ticket is a doorman's permit.
type ticket struct{ d *doorman }

// Release implements mux.Permit.
func (k *ticket) Release() {
	k.d.mu.Lock()
	defer k.d.mu.Unlock()
	k.d.inside--
}

// Admit implements vsock.Guard.
func (d *doorman) Admit(r vsock.Request) (mux.Permit, mux.Reason) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, r)
	reason := d.closed[r.Port()]
	if f := d.before; f != nil { // after the decision
		d.before = nil
		d.mu.Unlock()
		f()
		d.mu.Lock()
	}
	if reason != mux.ReasonNone {
		return nil, reason
	}
	d.inside++
	return &ticket{d}, mux.ReasonNone
}

// Review implements vsock.Guard.
func (d *doorman) Review(r vsock.Request, p mux.Permit) (mux.Permit, mux.Reason) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.review = append(d.review, r)
	return p, d.closed[r.Port()]
}

// shut closes a port for a reason; ReasonNone opens it.
func (d *doorman) shut(port uint32, r mux.Reason) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed == nil {
		d.closed = make(map[uint32]mux.Reason)
	}
	d.closed[port] = r
}

// questions returns what Admit was asked since the last call.
func (d *doorman) questions() []vsock.Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.asked
	d.asked = nil
	return q
}

// held is how many permits are not released.
func (d *doorman) held() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inside
}

// guardedTown is a town of two whose nodes have a doorman each.
func guardedTown(t *testing.T) (nodes []*node, doormen []*doorman) {
	t.Helper()
	doormen = []*doorman{{}, {}}
	_, nodes = newTown(t, 2, func(i int) vsock.Config {
		return vsock.Config{Guard: doormen[i]}
	})
	return nodes, doormen
}

func TestTheGuardIsAskedAboutEveryConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes, doormen := guardedTown(t)
		a, b := nodes[0], nodes[1]
		l := b.listen(7)
		c := a.dial(b.addr(7).CID, 7)
		defer c.Close()
		accept(t, l)
		port := c.LocalAddr().(vsock.Addr).Port
		for i, want := range []vsock.Request{
			{Peer: b.stack.Self(), Serial: a.stack.Peers()[0].Serial, Kind: vsock.ToPeer, Local: port, Remote: 7},
			{Peer: a.stack.Self(), Serial: b.stack.Peers()[0].Serial, Kind: vsock.ToPeer, Incoming: true, Local: 7, Remote: port},
		} {
			if got := doormen[i].questions(); !slices.Equal(got, []vsock.Request{want}) || want.Port() != 7 {
				t.Errorf("domain %d: asked %+v, want %+v", i+1, got, want)
			}
		}
	})
}

func TestKindsOfTheFrontLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d doorman
		back, front := pair(t, vsock.Config{Guard: &d})
		go echo(back.listen(7))
		front.dial(vsock.CIDBackend, 7).Close()
		q := d.questions()
		if len(q) != 2 || q[0].Kind != vsock.ToBackend || q[1].Kind != vsock.ToFrontend {
			t.Errorf("asked %+v", q)
		}
	})
}

func TestADomainAsksNobodyAboutItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &doorman{}
		d.shut(7, mux.ReasonDenied)
		back, front := pair(t, vsock.Config{Guard: d})
		for n, cids := range map[*node][]uint32{
			front: {vsock.CIDSelf, front.addr(0).CID}, back: {vsock.CIDSelf, vsock.CIDBackend},
		} {
			go echo(n.listen(7))
			for _, cid := range cids {
				if err := call(n, vsock.Addr{CID: cid, Port: 7}, "self"); err != nil {
					t.Error(err)
				}
			}
		}
		front.stack.ReviewAll()
		if q := d.questions(); len(q) != 0 {
			t.Errorf("asked %+v", q)
		}
	})
}

func TestReasonsOfTheGuardBecomeErrnos(t *testing.T) {
	for at, who := range []string{"who dials", "who is dialed"} {
		t.Run(who, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes, doormen := guardedTown(t)
				nodes[1].listen(7)
				for reason, want := range map[mux.Reason]syscall.Errno{
					mux.ReasonDenied:      syscall.EACCES,
					mux.ReasonUnreachable: syscall.EHOSTUNREACH,
					mux.ReasonBudget:      syscall.ENOBUFS,
					mux.ReasonRevoked:     syscall.EACCES,
				} {
					// Denied hides whether anybody listens.
					for _, port := range []uint32{7, 8} {
						doormen[at].shut(port, reason)
						_, err := nodes[0].stack.Dial(t.Context(), nodes[1].addr(port))
						if opError(t, "dial", err); !errors.Is(err, want) {
							t.Errorf("%v: %v, want %v", reason, err, want)
						}
					}
				}
				doormen[at].shut(8, mux.ReasonNone)
				if _, err := nodes[0].stack.Dial(t.Context(), nodes[1].addr(8)); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("allowed, and nobody listens: %v", err)
				}
				if n := doormen[0].held() + doormen[1].held(); n != 0 {
					t.Errorf("%d permits are held", n)
				}
			})
		})
	}
}

func TestReviewEndsWhatIsNoLongerAllowed(t *testing.T) {
	for at, who := range []string{"at who dialed", "at who was dialed"} {
		t.Run(who, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes, doormen := guardedTown(t)
				a, b := nodes[0], nodes[1]
				l, stays := b.listen(7), b.listen(8)
				a1, a2 := a.dial(b.addr(7).CID, 7), a.dial(b.addr(8).CID, 8)
				b1, b2 := accept(t, l), accept(t, stays)
				doormen[at].shut(7, mux.ReasonRevoked)
				other := nodes[1-at].stack.Self()
				if n := nodes[at].stack.Review(other + 5); n != 0 {
					t.Errorf("Review of another domain ended %d", n)
				}
				if n := nodes[at].stack.Review(other); n != 1 {
					t.Errorf("Review ended %d", n)
				}
				for _, c := range []*vsock.Conn{a1, b1} {
					if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("Read of a connection that was ended: %v", err)
					}
					c.Close()
				}
				if n := nodes[at].stack.ReviewAll(); n != 0 {
					t.Errorf("a second Review ended %d", n)
				}
				io.WriteString(a2, "x")
				if _, err := b2.Read(make([]byte, 1)); err != nil {
					t.Errorf("the other connection: %v", err)
				}
				if n := doormen[0].held() + doormen[1].held(); n != 2 {
					t.Errorf("%d permits are held, want 2", n)
				}
				doormen[at].shut(8, mux.ReasonRevoked)
				if n := nodes[at].stack.ReviewAll(); n != 1 {
					t.Errorf("ReviewAll ended %d", n)
				}
				a2.Close()
				b2.Close()
				time.Sleep(time.Millisecond) // the pump leaves it to readers at first
				synctest.Wait()
				if n := doormen[0].held() + doormen[1].held(); n != 0 {
					t.Errorf("%d permits are held", n)
				}
			})
		})
	}
}

// A Dial that waits for its answer is over when the rules forbid it.
func TestReviewEndsADialUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dom0, guests := newHost(t, 1)
		d := &doorman{}
		back := newNode(t, dom0, vsock.Config{Backend: true, Guard: d}).back(guests[0].ID())
		newNode(t, guests[0], vsock.Config{}).frontWith(mute)
		back.up(1)
		got := make(chan error)
		go func() {
			_, err := back.stack.Dial(context.Background(), vsock.Addr{CID: uint32(guests[0].ID()), Port: 7})
			got <- err
		}()
		synctest.Wait()
		d.shut(7, mux.ReasonRevoked)
		if n := back.stack.Review(guests[0].ID()); n != 1 {
			t.Errorf("Review ended %d", n)
		}
		err := <-got
		if opError(t, "dial", err); !errors.Is(err, syscall.EACCES) {
			t.Errorf("%v, want %v", err, syscall.EACCES)
		}
		synctest.Wait()
		if d.held() != 0 {
			t.Errorf("%d permits are held", d.held())
		}
	})
}

// The rule changes after the Guard has allowed a connection and before that is
// there for a Review to find: at either end.
func TestNoConnectionSlipsThroughAReview(t *testing.T) {
	for at, who := range []string{"at who dials", "at who is dialed"} {
		t.Run(who, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes, doormen := guardedTown(t)
				nodes[1].listen(7)
				doormen[at].before = func() {
					doormen[at].shut(7, mux.ReasonDenied)
					if n := nodes[at].stack.Review(nodes[1-at].stack.Self()); n != 0 {
						t.Errorf("Review ended %d", n)
					}
				}
				_, err := nodes[0].stack.Dial(t.Context(), nodes[1].addr(7))
				if opError(t, "dial", err); !errors.Is(err, syscall.EACCES) {
					t.Errorf("%v, want %v", err, syscall.EACCES)
				}
				if n := len(doormen[at].questions()); n != 2 {
					t.Errorf("the Guard was asked %d times", n)
				}
				if n := doormen[0].held() + doormen[1].held(); n != 0 {
					t.Errorf("%d permits are held", n)
				}
			})
		})
	}
}

func TestConnectionsOfALinkAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes := newTown(t, 2, func(int) vsock.Config { return vsock.Config{MaxConns: 3} })
		keep(nodes[1].listen(7))
		conns := fill(t, nodes[0], nodes[1].addr(7))
		if len(conns) != 3 {
			t.Errorf("%d connections, want 3", len(conns))
		}
		closeAll(conns)
	})
}
