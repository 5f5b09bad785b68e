package vsock_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/vsock"
)

// window is the receive memory that a connection starts with, at each end, while less than
// three eighths of its domain's are in use; up to a half it is a sixteenth of that, and at
// last a 64th.
const window = 64 << 10

// Of ten windows there are four whole ones, 16 sixteenths and 320 64ths.
const (
	large, medium, small = 4, 16, 320
	tenWindows           = large + medium + small
)

// first is the receive memory of connection i of those.
func first(i int) int {
	switch {
	case i < large:
		return window
	case i < large+medium:
		return window / 16
	}
	return window / 64
}

// fill opens connections to to until that is refused and returns them. An accept
// loop must run there.
func fill(t *testing.T, from *node, to vsock.Addr) (conns []*vsock.Conn) {
	t.Helper()
	for {
		c, err := from.stack.Dial(context.Background(), to)
		if err != nil {
			if !errors.Is(err, syscall.ENOBUFS) {
				t.Errorf("the one too many: %v, want %v", err, syscall.ENOBUFS)
			}
			return conns
		}
		conns = append(conns, c)
		synctest.Wait() // until it is accepted
	}
}

// keep accepts connections and holds them without reading.
func keep(l *vsock.Listener) *[]*vsock.Conn {
	var held []*vsock.Conn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			held = append(held, c.(*vsock.Conn))
		}
	}()
	return &held
}

// closeAll closes connections.
func closeAll(conns []*vsock.Conn) {
	for _, c := range conns {
		c.Close()
	}
}

func TestReceiveMemoryIsBoundedPerDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dom0, guests := newHost(t, 2)
		back := newNode(t, dom0, vsock.Config{Backend: true, PeerMemory: 10 * window})
		greedy := newNode(t, guests[0], roomy).front()
		modest := newNode(t, guests[1], roomy).front()
		back.back(greedy.stack.Self()).back(modest.stack.Self()).up(2)
		held := keep(back.listen(7))
		to := vsock.Addr{CID: vsock.CIDBackend, Port: 7}

		conns := fill(t, greedy.up(1), to)
		if len(conns) != tenWindows || back.stack.Memory() != 10*window {
			t.Errorf("%d connections were promised %d bytes, want %d and %d", len(conns), back.stack.Memory(), tenWindows, 10*window)
		}
		if other := fill(t, modest.up(1), to); len(other) != tenWindows {
			t.Errorf("the other domain has %d connections, want %d", len(other), tenWindows)
		}
		// The bound holds for what the backend's side dials as well.
		if _, err := back.stack.Dial(t.Context(), vsock.Addr{CID: uint32(greedy.stack.Self()), Port: 7}); !errors.Is(err, syscall.ENOBUFS) {
			t.Errorf("dial beyond the bound: %v", err)
		}
		closeAll(conns)
		synctest.Wait()
		closeAll(*held)
		time.Sleep(10 * time.Second)
		if m := back.stack.Memory(); m != 0 {
			t.Errorf("%d bytes are still promised", m)
		}
		if again := fill(t, greedy, to); len(again) != tenWindows {
			t.Errorf("%d connections afterwards, want %d", len(again), tenWindows)
		}
	})
}

// Two hostile domains that take all they can leave something for the next one
// (rule R7).
func TestReceiveMemoryIsBoundedForTheWholeDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, fronts := star(t, vsock.Config{PeerMemory: 100 * window}, 3)
		held := keep(back.listen(7))
		to := vsock.Addr{CID: vsock.CIDBackend, Port: 7}
		// Each stays below its own bound, and 8 MiB in all is the least: 128 windows.
		for i, want := range []int64{64, 32, 16} {
			before := back.stack.Memory()
			conns := fill(t, fronts[i], to)
			defer closeAll(conns)
			if got := back.stack.Memory() - before; got != want*window {
				t.Errorf("domain %d was promised %d bytes, want %d", i+1, got, want*window)
			}
		}
		if m := back.stack.Memory(); m > 8<<20 {
			t.Errorf("%d bytes are promised", m)
		}
		closeAll(*held)
		time.Sleep(10 * time.Second)
		if m := back.stack.Memory(); m != 0 {
			t.Errorf("%d bytes are still promised", m)
		}
	})
}

// A program that has not read what came over an earlier link holds memory for
// that domain, and the domain does not get the same again by making its link
// anew.
func TestReceiveMemoryOfADomainOutlivesItsLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dom0, guests := newHost(t, 1)
		back := newNode(t, dom0, vsock.Config{Backend: true, PeerMemory: 10 * window}).back(guests[0].ID())
		held := keep(back.listen(7))
		to := vsock.Addr{CID: vsock.CIDBackend, Port: 7}
		for round, want := range []struct{ conns, written int }{{tenWindows, large + medium}, {small, small}, {0, 0}} {
			front := newNode(t, guests[0], roomy).front().up(1)
			conns := fill(t, front, to)
			if len(conns) != want.conns {
				t.Fatalf("over link %d there are %d connections, want %d", round+1, len(conns), want.conns)
			}
			for i, c := range conns[:want.written] {
				if _, err := c.Write(make([]byte, first(tenWindows-want.conns+i))); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			closeAll(conns)
			front.kill()
			back.up(0)
			if m := back.stack.Memory(); m > 10*window {
				t.Errorf("after link %d %d bytes are held", round+1, m)
			}
		}
		closeAll(*held)
		if m := back.stack.Memory(); m != 0 {
			t.Errorf("%d bytes are held after all were closed", m)
		}
		front := newNode(t, guests[0], roomy).front().up(1)
		if conns := fill(t, front, to); len(conns) != tenWindows {
			t.Errorf("%d connections then, want %d", len(conns), tenWindows)
		}
	})
}
