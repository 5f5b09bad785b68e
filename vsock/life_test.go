package vsock_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/link"
	"xvsock/sim"
	"xvsock/vsock"
)

// held is all that a node and its domain hold.
type held struct {
	Grants, Ports, Conns, Goroutines int
	Memory                           int64
}

// same says that h and before are equal, but for one goroutine: the runtime's,
// while it runs cleanups, counts with ours.
func (h held) same(before held) bool {
	if h.Goroutines == before.Goroutines+1 || h.Goroutines == before.Goroutines-1 {
		h.Goroutines = before.Goroutines
	}
	return h == before
}

// holds counts what nodes hold, once everything has come to rest.
func holds(nodes ...*node) (all []held) {
	synctest.Wait()
	for _, n := range nodes {
		h := held{Grants: n.dom().Granted(), Ports: n.dom().Ports(), Memory: n.stack.Memory(), Goroutines: runtime.NumGoroutine()}
		for _, p := range n.stack.Peers() {
			h.Conns += p.Conns
		}
		all = append(all, h)
	}
	return all
}

func TestAThousandConnectionsLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := pair(t, vsock.Config{})
		go echo(back.listen(7))
		before := holds(back, front)
		var callers sync.WaitGroup
		for i := range 10 {
			callers.Go(func() {
				for j := range 100 {
					if err := call(front, vsock.Addr{CID: vsock.CIDBackend, Port: 7}, fmt.Sprintf("%d.%d", i, j)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		callers.Wait()
		time.Sleep(10 * time.Second) // longer than a tuple lingers
		if after := holds(back, front); !slices.EqualFunc(after, before, held.same) {
			t.Errorf("before %+v\nafter  %+v", before, after)
		}
	})
}

// call connects, sends a text, and expects it back and then the end.
func call(from *node, to vsock.Addr, text string) error {
	c, err := from.stack.Dial(context.Background(), to)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte(text)); err != nil {
		return err
	}
	c.CloseWrite()
	got, err := io.ReadAll(c)
	if err == nil && string(got) != text {
		err = fmt.Errorf("%q came back for %q", got, text)
	}
	return err
}

// lossy are the ways in which the frontend of a link can go.
var lossy = map[string]func(front *node){
	"its domain is destroyed":                func(front *node) { front.dom().Destroy() },
	"its domain crashes and is kept":         func(front *node) { front.dom().Shutdown() },
	"its process is killed":                  func(front *node) { front.proc.Kill() },
	"its stack is closed":                    func(front *node) { front.stack.Close() },
	"its link ends because a program lied":   func(front *node) { (<-front.links).End(link.Broken, errors.New("a lie")) },
	"its domain is paused for over a minute": func(front *node) { front.dom().Pause() },
}

func TestWhatAPeerLeavesBehindMidTransferComesBack(t *testing.T) {
	for name, lose := range lossy {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dom0, guests := newHost(t, 1)
				back := newNode(t, dom0, backendOf(vsock.Config{}))
				l := back.listen(7)
				before := holds(back)[0]

				front := newNode(t, guests[0], vsock.Config{}).front()
				back.back(guests[0].ID()).up(1)
				front.up(1)
				var moving sync.WaitGroup
				var conns []*vsock.Conn
				for range 8 {
					a := front.dial(vsock.CIDBackend, 7)
					b := accept(t, l)
					conns = append(conns, b)
					moving.Go(func() { io.Copy(a, endless{}); a.Close() })
					moving.Go(func() { io.Copy(io.Discard, a) })
					moving.Go(func() { io.Copy(b, endless{}) })
				}
				for _, c := range conns {
					io.ReadFull(c, make([]byte, 1<<20))
				}

				lost := time.Now()
				lose(front)
				limit := 2 * time.Second
				if strings.Contains(name, "paused") {
					limit = 65 * time.Second // silence is told from slowness by time alone
				}
				for _, c := range conns {
					_, err := io.Copy(io.Discard, c)
					if took := time.Since(lost); !errors.Is(err, syscall.ECONNRESET) || took > limit {
						t.Errorf("Read returns %v after %v", err, took)
					}
					c.Close()
				}
				front.dom().Unpause()
				front.stop()
				moving.Wait()
				back.cancel()
				back.halves.Wait()
				if m := front.stack.Memory(); m != 0 {
					t.Errorf("the frontend still holds %d bytes", m)
				}
				// The frontend's process still has its xenstore connection, or not.
				after := holds(back)[0]
				after.Goroutines = before.Goroutines
				if after != before {
					t.Errorf("before %+v\nafter  %+v", before, after)
				}
			})
		})
	}
}

// endless is a stream of bytes.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestGoroutinesComeBackAfterADomainIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dom0, _ := newHost(t, 0)
		back := newNode(t, dom0, backendOf(roomy))
		go echo(back.listen(7))
		var before held
		for round := range 5 {
			guest := dom0.Host().Create(sim.DomainConfig{})
			attach(t, guest, dom0)
			store := guest.NewProcess()
			front := newNodeOn(t, link.NewDomain(guest.ID(), store.Grants(), store.Events(), store.Xenstore()), roomy)
			front.front()
			back.back(guest.ID()).up(1)
			front.up(1)
			conns, _ := flood(t, front, vsock.Addr{CID: vsock.CIDBackend, Port: 7}, 20)
			guest.Destroy()
			for _, c := range conns {
				c.Close()
			}
			front.stop()
			front.domain.Store.Close()
			back.up(0)
			time.Sleep(10 * time.Second)
			switch now := holds(back)[0]; {
			case round == 0:
				before = now
			case !now.same(before): // one that stays in every round shows in the last
				t.Errorf("after the first domain %+v\nafter domain %d   %+v", before, round+1, now)
			}
		}
	})
}

func TestCloseDeliversWhatWasWrittenAndSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := pair(t, vsock.Config{})
		l := front.listen(7)
		a := back.dial(uint32(front.stack.Self()), 7)
		b := accept(t, l)
		self := front.dial(vsock.CIDSelf, 7)
		fmt.Fprint(b, "last words")
		begin := time.Now()
		front.stack.Close()
		if took := time.Since(begin); took > 100*time.Millisecond {
			t.Errorf("Close of a stack whose peer reads took %v", took)
		}
		got, err := io.ReadAll(a)
		if e := opError(t, "read", err); string(got) != "last words" || !errors.Is(err, syscall.ECONNRESET) ||
			!strings.HasSuffix(e.Error(), "connection reset: shutting down") {
			t.Errorf("the other side reads %q, %v", got, err)
		}
		for _, c := range []*vsock.Conn{b, self} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("this side reads %v", err)
			}
		}
		_, err = front.stack.Dial(t.Context(), vsock.Addr{CID: vsock.CIDBackend, Port: 7})
		if opError(t, "dial", err); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Dial after Close: %v", err)
		}
		if err := front.stack.Close(); err != nil {
			t.Errorf("a second Close: %v", err)
		}
		a.Close()
	})
}

func TestCloseDoesNotWaitForAPeerThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := oddFrontend(t, mute)
		go back.stack.Dial(context.Background(), vsock.Addr{CID: front, Port: 7})
		synctest.Wait()
		begin := time.Now()
		back.stack.Close()
		if took := time.Since(begin); took > 510*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestCloseEndsWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, front := pair(t, vsock.Config{})
		results := accepting(front.listen(7), 2)
		front.stack.Close()
		for range 2 {
			if r := <-results; !errors.Is(r.err, net.ErrClosed) {
				t.Errorf("Accept returned %v", r.err)
			}
		}
	})
}
