package vsock_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"xvsock/link"
	"xvsock/mux"
	"xvsock/sim"
	"xvsock/vsock"
	"xvsock/xen"
)

func TestConnOverAPeerLink(t *testing.T) {
	_, nodes := newTown(t, 2, plain)
	for i, n := range nodes {
		t.Run(fmt.Sprint("dialed by domain ", n.stack.Self()), func(t *testing.T) {
			other := nodes[1-i]
			nettest.TestConn(t, pipes(n, uint32(other.stack.Self()), other.listen(0)))
		})
	}
}

func TestTheFirstDialMakesALinkThatTheOthersUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn, nodes := newTown(t, 2, plain)
		a, b := nodes[0], nodes[1]
		keep(b.listen(7))
		conns := dialAll(t, a, b.addr(7), 60)
		back := dialAll(t, a, b.addr(7), 1)
		synctest.Wait()
		if tn.made.Load() != 1 {
			t.Errorf("%d links were made", tn.made.Load())
		}
		for _, n := range nodes {
			p := n.stack.Peers()
			if len(p) != 1 || p[0].Kind != vsock.ToPeer || p[0].Conns != 61 || p[0].Pages != 17 ||
				p[0].Ring != link.DefaultRingSize || p[0].Serial == 0 || p[0].Generation == 0 {
				t.Errorf("links of domain %v: %+v", n.stack.Self(), p)
			}
		}
		closeAll(append(conns, back...))
	})
}

func TestALinkWithoutConnectionsIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn, nodes := newTown(t, 2, func(i int) vsock.Config {
			return vsock.Config{Idle: time.Duration(i) * time.Hour} // 0: 60 s
		})
		a, b := nodes[0], nodes[1]
		go echo(b.listen(7))
		for round := range 3 {
			c := a.dial(b.addr(7).CID, 7)
			time.Sleep(time.Hour)
			if len(a.stack.Peers()) != 1 || tn.made.Load() != int64(round+1) {
				t.Fatalf("round %d: %d links, %d made", round, len(a.stack.Peers()), tn.made.Load())
			}
			c.Close()
			closed := time.Now()
			for len(a.stack.Peers()) > 0 {
				time.Sleep(time.Millisecond)
			}
			if took := time.Since(closed); took < 60*time.Second || took > 61*time.Second {
				t.Errorf("the link was closed after %v", took)
			}
			for _, h := range holds(a, b) {
				if h.Grants+h.Ports+h.Conns != 0 || h.Memory != 0 {
					t.Errorf("after it was closed: %+v", h)
				}
			}
		}
	})
}

// A front link stays, however idle.
func TestAFrontLinkIsNeverIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := pair(t, vsock.Config{Idle: time.Second})
		time.Sleep(time.Hour)
		if len(back.stack.Peers()) != 1 || len(front.stack.Peers()) != 1 {
			t.Error("the link is gone")
		}
		if len(front.links) != 1 {
			t.Errorf("%d links were made", len(front.links))
		}
	})
}

// A link that is closed as idle at the very moment of a Dial costs that nothing:
// who dials closes first, and then dials again.
func TestIdleClosingRacesWithDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = time.Second
		tn, nodes := newTown(t, 2, func(int) vsock.Config { return vsock.Config{Idle: idle} })
		a, b := nodes[0], nodes[1]
		go echo(b.listen(7))
		for i := range 1000 {
			if err := call(a, b.addr(7), "x"); err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
			ended := a.stack.Peers()[0].Since
			time.Sleep(time.Until(ended.Add(idle + time.Duration(rand.IntN(3)-1)*time.Nanosecond)))
		}
		if n := tn.made.Load(); n < 100 || n > 950 {
			t.Errorf("%d links were made for 1000 calls: no race", n)
		}
	})
}

func TestADialAfterALossMakesAnotherLink(t *testing.T) {
	for name, lose := range map[string]func(a, b *node, l [2]*link.Link){
		"this side lost it":  func(_, _ *node, l [2]*link.Link) { l[0].End(link.Lost, nil) },
		"the other lost it":  func(_, _ *node, l [2]*link.Link) { l[1].End(link.Lost, nil) },
		"long ago":           func(_, _ *node, l [2]*link.Link) { l[0].End(link.Lost, nil); time.Sleep(time.Second) },
		"both ends at once":  func(_, _ *node, l [2]*link.Link) { l[0].End(link.Lost, nil); l[1].End(link.Lost, nil) },
		"between many Dials": func(a, b *node, l [2]*link.Link) { l[0].End(link.Lost, nil); dialAll(a.tb, a, b.addr(7), 20) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tn, nodes := newTown(t, 2, plain)
				a, b := nodes[0], nodes[1]
				go echo(b.listen(7))
				old := a.dial(b.addr(7).CID, 7)
				for _, l := range tn.all() {
					lose(a, b, l)
				}
				synctest.Wait()
				if err := call(a, b.addr(7), "again"); err != nil {
					t.Error(err)
				}
				if _, err := old.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the connection of the link that was lost: %v", err)
				}
				old.Close()
				if n := tn.made.Load(); n != 2 {
					t.Errorf("%d links were made", n)
				}
				a.up(1)
				b.up(1)
			})
		})
	}
}

// brokerFunc is a Broker.
type brokerFunc func(ctx context.Context, peer xen.DomID, port uint32) error

func (f brokerFunc) Connect(ctx context.Context, peer xen.DomID, port uint32) error {
	return f(ctx, peer, port)
}

// brokered returns a node with a Broker in a domain of its own.
func brokered(t *testing.T, connect brokerFunc) *node {
	return newNode(t, sim.NewTest(t).Create(sim.DomainConfig{}), vsock.Config{Broker: connect})
}

func TestErrorsOfTheBrokerAreDials(t *testing.T) {
	hangs := func(ctx context.Context) error {
		<-ctx.Done()
		return fmt.Errorf("asking the manager: %w", ctx.Err())
	}
	says := func(err error) func(context.Context) error {
		return func(context.Context) error { return err }
	}
	for _, c := range []struct {
		name    string
		connect func(context.Context) error
		within  time.Duration // of the caller's context; 0: no limit
		want    error
		asked   int
		took    time.Duration
	}{
		{"there is no such domain", says(fmt.Errorf("manager: %w", syscall.EHOSTUNREACH)), 0, syscall.EHOSTUNREACH, 1, 0},
		{"the port is denied", says(fmt.Errorf("manager: %w", syscall.EACCES)), 0, syscall.EACCES, 1, 0},
		{"there are too many links", says(syscall.ENOBUFS), 0, syscall.ENOBUFS, 1, 0},
		{"an error without a number", says(io.EOF), 0, syscall.EHOSTUNREACH, 1, 0},
		{"it never answers", hangs, 0, syscall.ETIMEDOUT, 1, 10 * time.Second},
		{"the caller does not wait for it", hangs, time.Second, syscall.ETIMEDOUT, 1, time.Second},
		{"its links are lost at once", says(nil), 0, syscall.ECONNRESET, 3, 0},
		{"it takes long for one that is lost, again and again", func(context.Context) error {
			time.Sleep(4 * time.Second)
			return nil
		}, 0, syscall.ETIMEDOUT, 3, 12 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				n := brokered(t, func(ctx context.Context, peer xen.DomID, port uint32) error {
					if asked++; peer != 77 || port != 7 {
						t.Errorf("asked for %v:%d", peer, port)
					}
					return c.connect(ctx)
				})
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if c.within != 0 {
					ctx, cancel = context.WithTimeout(ctx, c.within)
				}
				defer cancel()
				begin := time.Now()
				_, err := n.stack.Dial(ctx, vsock.Addr{CID: 0x10000 + 77, Port: 7})
				e := opError(t, "dial", err)
				if !errors.Is(err, c.want) || errors.Is(err, io.EOF) || e.Timeout() != (c.want == syscall.ETIMEDOUT) {
					t.Errorf("%v, want %v", err, c.want)
				}
				if took := time.Since(begin); took != c.took || asked != c.asked {
					t.Errorf("it took %v and was asked %d times, want %v and %d", took, asked, c.took, c.asked)
				}
			})
		})
	}
}

func TestTheBrokerIsNotAskedForWhatIsNoPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := brokerFunc(func(_ context.Context, peer xen.DomID, _ uint32) error {
			t.Errorf("asked for a link to domain %v", peer)
			return nil
		})
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		lone := brokered(t, never)
		// The pump of the frontend's side is held up, so that its session stays when
		// the link has ended.
		stuck := make(chan struct{})
		defer close(stuck)
		back, front := pair(t, vsock.Config{Broker: never, Guard: guardFunc(func(r vsock.Request) mux.Reason {
			if r.Incoming && r.Kind == vsock.ToBackend {
				<-stuck
			}
			return mux.ReasonNone
		})})
		go back.stack.Dial(context.Background(), front.addr(5))
		synctest.Wait()
		(<-front.links).End(link.Lost, nil)
		for _, c := range []struct {
			name string
			ctx  context.Context
			from *node
			cid  uint32
			want error
		}{
			{"the backend of a domain that has none", t.Context(), lone, vsock.CIDBackend, syscall.EHOSTUNREACH},
			{"the domain itself", t.Context(), lone, vsock.CIDSelf, syscall.ECONNREFUSED},
			{"the domain itself by its id", t.Context(), lone, uint32(lone.stack.Self()), syscall.ECONNREFUSED},
			{"no domain", t.Context(), lone, 0x7FF4, syscall.EHOSTUNREACH},
			{"no domain, beyond all", t.Context(), lone, 0xFFFFFFFF, syscall.EHOSTUNREACH},
			{"a Dial that has been given up", cancelled, lone, 77, context.Canceled},
			{"a backend whose link has ended", t.Context(), front, vsock.CIDBackend, syscall.EHOSTUNREACH},
			{"a backend whose link has ended, by its id", t.Context(), front, 0, syscall.EHOSTUNREACH},
			{"the backend itself", t.Context(), back, vsock.CIDBackend, syscall.ECONNREFUSED},
		} {
			_, err := c.from.stack.Dial(c.ctx, vsock.Addr{CID: c.cid, Port: 9})
			if opError(t, "dial", err); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
	})
}

func TestCloseEndsWhoWaitsForTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := brokered(t, func(ctx context.Context, _ xen.DomID, _ uint32) error {
			<-ctx.Done()
			return ctx.Err()
		})
		time.AfterFunc(time.Second, func() { n.stack.Close() })
		begin := time.Now()
		_, err := n.stack.Dial(t.Context(), vsock.Addr{CID: 77, Port: 7})
		if opError(t, "dial", err); !errors.Is(err, net.ErrClosed) || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// The session of a link that has ended may take its time to go, and then leaves
// the next one's place alone.
func TestAStackServesTheNextLinkWhenTheLastHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		tn, nodes := newTown(t, 2, func(int) vsock.Config {
			return vsock.Config{Guard: guardFunc(func(r vsock.Request) mux.Reason {
				if r.Incoming && r.Local == 5 {
					<-stuck // and with it the pump
				}
				return mux.ReasonNone
			})}
		})
		a, b := nodes[0], nodes[1]
		go echo(b.listen(7))
		go b.stack.Dial(context.Background(), a.addr(5))
		time.Sleep(time.Second)
		for _, l := range tn.all() {
			if err := a.stack.Serve(l[0], vsock.ToPeer, nil); err == nil {
				t.Error("a link is served twice")
			}
			l[0].End(link.Lost, nil)
		}
		goOn := sync.OnceFunc(func() { close(stuck) })
		for range 2 {
			if err := call(a, b.addr(7), "over the next link"); err != nil {
				t.Error(err)
			}
			goOn()
			synctest.Wait()
		}
		if tn.made.Load() != 2 || len(a.stack.Peers()) != 1 {
			t.Errorf("%d links were made, %d are there", tn.made.Load(), len(a.stack.Peers()))
		}
	})
}
