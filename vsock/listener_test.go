package vsock_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/vsock"
)

// backlog is how many connections of one domain wait on one port.
const backlog = 64

// flood dials so many times and returns the connections and how often the
// answer was ECONNREFUSED.
func flood(t *testing.T, from *node, to vsock.Addr, times int) (conns []*vsock.Conn, refused int) {
	t.Helper()
	for range times {
		c, err := from.stack.Dial(t.Context(), to)
		switch {
		case err == nil:
			conns = append(conns, c)
		case errors.Is(err, syscall.ECONNREFUSED):
			refused++
		default:
			t.Fatal(err)
		}
	}
	return conns, refused
}

func TestAFloodFromOneDomainKeepsNoOtherOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, fronts := star(t, roomy, 2)
		l := back.listen(7)
		to := vsock.Addr{CID: vsock.CIDBackend, Port: 7}
		conns, refused := flood(t, fronts[0], to, 3*backlog)
		if len(conns) != backlog || refused != 2*backlog {
			t.Errorf("%d connections of the flood wait and %d were refused, want %d and %d", len(conns), refused, backlog, 2*backlog)
		}
		if conns, _ := flood(t, fronts[1], to, 1); len(conns) != 1 {
			t.Fatal("the other domain is refused")
		}
		if conns, _ := flood(t, back, to, 1); len(conns) != 1 {
			t.Fatal("the backend's own domain is refused")
		}
		// Each accepted one makes room for one, and they come in their order.
		for i := range 10 {
			c := accept(t, l)
			if c.Peer() != fronts[0].stack.Self() || c.RemoteAddr() != conns[i].LocalAddr() {
				t.Errorf("accept %d gives %v, want %v", i, c.RemoteAddr(), conns[i].LocalAddr())
			}
		}
		if more, refused := flood(t, fronts[0], to, backlog); len(more) != 10 || refused != backlog-10 {
			t.Errorf("%d more after 10 were accepted", len(more))
		}
		for i := 10; i < backlog; i++ {
			accept(t, l)
		}
		if c := accept(t, l); c.Peer() != fronts[1].stack.Self() {
			t.Errorf("the other domain's connection comes after those before it, not %v", c.RemoteAddr())
		}
		if c := accept(t, l); c.Peer() != back.stack.Self() {
			t.Errorf("the backend's own connection comes next, not %v", c.RemoteAddr())
		}
	})
}

// result is what a blocked Accept returned.
type result struct {
	err  error
	took time.Duration
}

// accepting calls Accept in so many goroutines.
func accepting(l *vsock.Listener, callers int) chan result {
	results := make(chan result, callers)
	begin := time.Now()
	for range callers {
		go func() {
			_, err := l.Accept()
			results <- result{err, time.Since(begin)}
		}()
	}
	return results
}

// listenError checks the form of a listener's error.
func listenError(t *testing.T, op string, err error, addr net.Addr) *net.OpError {
	t.Helper()
	var e *net.OpError
	if !errors.As(err, &e) {
		t.Fatalf("%s: %v is no *net.OpError", op, err)
	}
	if e.Op != op || e.Net != "vsock" || e.Addr != addr {
		t.Errorf("%s: %#v lacks operation, network or the address", op, e)
	}
	return e
}

func TestTheDeadlineOfAccept(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*vsock.Listener)
		took time.Duration
	}{
		"in the future ends all who wait": {func(l *vsock.Listener) {
			l.SetDeadline(time.Now().Add(2 * time.Second))
		}, 2 * time.Second},
		"may be set while they wait": {func(l *vsock.Listener) {
			time.AfterFunc(time.Second, func() { l.SetDeadline(time.Now().Add(time.Second)) })
		}, 2 * time.Second},
		"in the past ends them at once": {func(l *vsock.Listener) {
			time.AfterFunc(time.Second, func() { l.SetDeadline(time.Unix(1, 0)) })
		}, time.Second},
		"can be moved further": {func(l *vsock.Listener) {
			l.SetDeadline(time.Now().Add(time.Second))
			l.SetDeadline(time.Now().Add(3 * time.Second))
		}, 3 * time.Second},
		"can be taken away and set again": {func(l *vsock.Listener) {
			l.SetDeadline(time.Now().Add(time.Second))
			l.SetDeadline(time.Time{})
			time.AfterFunc(4*time.Second, func() { l.SetDeadline(time.Now()) })
		}, 4 * time.Second},
		"without a monotonic reading is the same": {func(l *vsock.Listener) {
			l.SetDeadline(time.Now().Add(2 * time.Second).Round(0))
		}, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				back, front := pair(t, roomy)
				l := back.listen(7)
				c.set(l)
				results := accepting(l, 3)
				for range 3 {
					r := <-results
					e := listenError(t, "accept", r.err, l.Addr())
					if !errors.Is(r.err, os.ErrDeadlineExceeded) || !e.Timeout() || r.took != c.took {
						t.Errorf("Accept returned %v after %v, want a timeout after %v", r.err, r.took, c.took)
					}
				}
				// It outlasts them, holds even for who waits already, and goes.
				front.dial(0, 7)
				if _, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the next Accept returned %v", err)
				}
				l.SetDeadline(time.Time{})
				accept(t, l)
			})
		})
	}
}

func TestAPastDeadlineHoldsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := pair(t, roomy)
		l := back.listen(7)
		front.dial(0, 7)
		for range 100 {
			l.SetDeadline(time.Now())
			if _, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("Accept returned %v", err)
			}
			l.SetDeadline(time.Time{})
		}
	})
}

func TestCloseOfAListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := pair(t, roomy)
		l := back.listen(7)
		accepted := front.dial(0, 7)
		held := accept(t, l)
		waiting, _ := flood(t, front, vsock.Addr{Port: 7}, 10)
		fmt.Fprint(waiting[0], "never read")
		synctest.Wait()
		idle := back.listen(8)
		results := accepting(idle, 3)
		for _, ls := range []*vsock.Listener{l, idle} {
			if err := ls.Close(); err != nil {
				t.Error(err)
			}
			if err := ls.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a second Close returns %v", err)
			}
			listenError(t, "set", ls.SetDeadline(time.Now()), ls.Addr())
		}
		for range 3 {
			r := <-results
			if listenError(t, "accept", r.err, vsock.Addr{Port: 8}); !errors.Is(r.err, net.ErrClosed) {
				t.Errorf("Accept returned %v", r.err)
			}
		}
		for _, c := range waiting {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("a connection that waited reads %v, want a reset", err)
			}
			c.Close()
		}
		if _, err := front.stack.Dial(t.Context(), vsock.Addr{Port: 7}); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a new connection: %v", err)
		}
		fmt.Fprint(accepted, "still open")
		if _, err := io.ReadFull(held, make([]byte, 10)); err != nil {
			t.Errorf("an accepted connection: %v", err)
		}
		accepted.Close()
		held.Close()
		eventually(t, 10*time.Second, "all memory given back", func() bool {
			return back.stack.Memory() == 0 && front.stack.Memory() == 0
		})
		back.listen(7)
	})
}

func TestListenErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := pair(t, roomy)
		front.listen(80)
		back.listen(1)
		for _, c := range []struct {
			name string
			at   *node
			port uint32
			want error
		}{
			{"a port that is taken", front, 80, syscall.EADDRINUSE},
			{"port 1 where there is no backend", front, 1, syscall.EACCES},
			{"port 1 a second time", back, 1, syscall.EADDRINUSE},
			{"the port that is any port", front, vsock.PortAny, syscall.EACCES},
		} {
			_, err := c.at.stack.Listen(c.port)
			listenError(t, "listen", err, vsock.Addr{CID: uint32(c.at.stack.Self()), Port: c.port})
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
		front.stack.Close()
		if _, err := front.stack.Listen(81); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestEphemeralPorts(t *testing.T) {
	const first, last = 0xC0000000, 0xFFFFFFFE
	synctest.Test(t, func(t *testing.T) {
		back, front := pair(t, roomy)
		go echo(back.listen(7))
		go echo(back.listen(8))
		port := func(c *vsock.Conn) uint32 { return c.LocalAddr().(vsock.Addr).Port }

		if p := port(front.dial(0, 7)); p != first {
			t.Errorf("the first port is %#x", p)
		}
		front.stack.NextPort(last)
		if p := port(front.dial(0, 7)); p != last {
			t.Errorf("the last port is %#x", p)
		}
		if p := port(front.dial(0, 7)); p != first+1 {
			t.Errorf("after the last comes the first that is free to that port, not %#x", p)
		}
		front.stack.NextPort(last)
		if p := port(front.dial(0, 8)); p != last {
			t.Errorf("a port is not taken for another remote port, but Dial took %#x", p)
		}
		front.stack.NextPort(last)
		if l := front.listen(0); l.Addr() != (vsock.Addr{CID: 1, Port: last}) {
			t.Errorf("Listen(0) listens on %v", l.Addr())
		}
		front.stack.NextPort(last)
		if l := front.listen(0); l.Addr() != (vsock.Addr{CID: 1, Port: first}) {
			t.Errorf("the next Listen(0) listens on %v", l.Addr())
		}
	})
}

func TestPrivilegedPortsRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := pair(t, roomy)
		go echo(back.listen(2))
		ctx, to := context.Background(), vsock.Addr{CID: vsock.CIDBackend, Port: 2}
		var conns []*vsock.Conn
		for port := uint32(1023); port >= 512; port-- {
			c, err := front.stack.DialPrivileged(ctx, to)
			if err != nil || c.LocalAddr().(vsock.Addr).Port != port {
				t.Fatalf("DialPrivileged = %v, %v; want port %d", c, err, port)
			}
			conns = append(conns, c)
			synctest.Wait() // until it is accepted: the backlog is short
		}
		_, err := front.stack.DialPrivileged(ctx, to)
		if opError(t, "dial", err); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("with all taken: %v", err)
		}
		conns[300].Close()
		time.Sleep(time.Second) // for the tuple to end at both sides
		c, err := front.stack.DialPrivileged(ctx, to)
		if err != nil || c.LocalAddr() != conns[300].LocalAddr() {
			t.Errorf("with one free: %v, %v", c, err)
		}
	})
}

func TestAListenerOutlivesTheLinksBelowIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dom0, guests := newHost(t, 1)
		front := newNode(t, guests[0], roomy)
		l := front.listen(7)
		front.front()
		for round := range 4 {
			back := newNode(t, dom0, backendOf(roomy)).back(guests[0].ID()).up(1)
			front.up(1)
			a := back.dial(uint32(front.stack.Self()), 7)
			b := accept(t, l)
			unaccepted := back.dial(uint32(front.stack.Self()), 7)
			fmt.Fprint(a, "round")
			if _, err := io.ReadFull(b, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			back.kill()
			if _, err := b.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("round %d: Read returns %v", round, err)
			}
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("round %d: reset after %v", round, took)
			}
			late := accept(t, l)
			if _, err := late.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("round %d: the one that waited reads %v", round, err)
			}
			if _, err := front.stack.Dial(t.Context(), vsock.Addr{CID: vsock.CIDBackend, Port: 7}); !errors.Is(err, syscall.EHOSTUNREACH) {
				t.Errorf("round %d: Dial without a backend: %v", round, err)
			}
			for _, c := range []*vsock.Conn{a, b, unaccepted, late} {
				c.Close()
			}
		}
		if m := front.stack.Memory(); m != 0 {
			t.Errorf("%d bytes of receive memory are still held", m)
		}
	})
}
