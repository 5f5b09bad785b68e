package vsock_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"xvsock/vsock"
)

// pipes returns what nettest asks for: connections from dial to l.
func pipes(n *node, cid uint32, l *vsock.Listener) nettest.MakePipe {
	return func() (c1, c2 net.Conn, stop func(), err error) {
		a, err := n.stack.Dial(context.Background(), vsock.Addr{CID: cid, Port: l.Addr().(vsock.Addr).Port})
		if err != nil {
			return nil, nil, nil, err
		}
		b, err := l.Accept()
		if err != nil {
			return nil, nil, nil, err
		}
		return a, b, func() { a.Close(); b.Close() }, nil
	}
}

func TestConnOverAFrontLink(t *testing.T) {
	back, front := pair(t, roomy)
	t.Run("dialed by the frontend", func(t *testing.T) {
		nettest.TestConn(t, pipes(front, vsock.CIDBackend, back.listen(0)))
	})
	t.Run("dialed by the backend", func(t *testing.T) {
		nettest.TestConn(t, pipes(back, uint32(front.stack.Self()), front.listen(0)))
	})
}

func TestConnOverTheLoop(t *testing.T) {
	dom0, _ := newHost(t, 0)
	n := newNode(t, dom0, roomy)
	nettest.TestConn(t, pipes(n, vsock.CIDSelf, n.listen(0)))
}

// transfer sends size random bytes from one end to the other and compares them.
func transfer(tb testing.TB, from, to *vsock.Conn, size int) {
	tb.Helper()
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(data)
	sent := make(chan error, 1)
	go func() {
		_, err := from.Write(data)
		sent <- errors.Join(err, from.CloseWrite())
	}()
	to.SetReadDeadline(time.Now().Add(time.Minute))
	got, err := io.ReadAll(to)
	if err := errors.Join(err, <-sent); err != nil {
		tb.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		tb.Fatalf("%d bytes arrived, and not those %d that were sent", len(got), size)
	}
}

func TestAMegabyteCrossesBothWaysUnchanged(t *testing.T) {
	back, front := pair(t, vsock.Config{})
	l := back.listen(7)
	a := front.dial(vsock.CIDBackend, 7)
	b := accept(t, l)
	defer a.Close()
	defer b.Close()
	transfer(t, a, b, 1<<20)
	transfer(t, b, a, 1<<20)
}

func TestEverySpellingOfADomainReachesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := pair(t, roomy)
		id := uint32(front.stack.Self())
		atBack, atFront := back.listen(1), front.listen(22)
		for _, c := range []struct {
			name string
			from *node
			cid  uint32
			at   *vsock.Listener
		}{
			{"the backend from its frontend", front, vsock.CIDBackend, atBack},
			{"domain 0 by its id", front, 0, atBack},
			{"domain 0 with the offset", front, 0x10000, atBack},
			{"the frontend by its id", back, id, atFront},
			{"the frontend with the offset", back, 0x10000 + id, atFront},
			{"the frontend from itself", front, vsock.CIDSelf, atFront},
			{"the frontend by its own id", front, id, atFront},
			{"the frontend by its own id with the offset", front, 0x10000 + id, atFront},
			{"the backend from itself", back, vsock.CIDSelf, atBack},
			{"the backend as the backend", back, vsock.CIDBackend, atBack},
		} {
			a := c.from.dial(c.cid, c.at.Addr().(vsock.Addr).Port)
			b := accept(t, c.at)
			if a.RemoteAddr() != b.LocalAddr() || a.LocalAddr() != b.RemoteAddr() {
				t.Errorf("%s: %v to %v at one end, %v to %v at the other",
					c.name, a.LocalAddr(), a.RemoteAddr(), b.LocalAddr(), b.RemoteAddr())
			}
			if b.Peer() != c.from.stack.Self() || uint32(a.Peer()) != b.LocalAddr().(vsock.Addr).CID {
				t.Errorf("%s: peers are %v and %v", c.name, a.Peer(), b.Peer())
			}
			a.Close()
			b.Close()
		}
		if p := front.stack.Peers(); len(p) != 1 || p[0].Kind != vsock.ToBackend || p[0].Domain != 0 || p[0].Pages != 33 {
			t.Errorf("the frontend's links: %+v; the loop is none of them", p)
		}
	})
}

func TestHalfClosedConnectionsCarryTheOtherHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := pair(t, vsock.Config{})
		l := back.listen(7)
		a := front.dial(vsock.CIDBackend, 7)
		b := accept(t, l)
		fmt.Fprint(a, "question")
		a.CloseWrite()
		if got, err := io.ReadAll(b); err != nil || string(got) != "question" {
			t.Errorf("read %q, %v", got, err)
		}
		fmt.Fprint(b, "answer")
		b.Close()
		if got, err := io.ReadAll(a); err != nil || string(got) != "answer" {
			t.Errorf("read %q, %v", got, err)
		}
		a.Close()
	})
}

func TestAResetIsNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := pair(t, vsock.Config{})
		l := back.listen(7)
		for _, test := range []struct {
			name string
			end  func(*vsock.Conn) error
			want error
		}{
			{"closed", (*vsock.Conn).Close, nil},
			{"reset", (*vsock.Conn).Reset, syscall.ECONNRESET},
		} {
			a := front.dial(vsock.CIDBackend, 7)
			b := accept(t, l)
			fmt.Fprint(a, "part")
			if err := test.end(a); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			<-a.Done()
			if got, err := io.ReadAll(b); string(got) != "part" || !errors.Is(err, test.want) {
				t.Errorf("%s: read %q, %v; want all of it, then %v", test.name, got, err, test.want)
			}
			<-b.Done()
			if err := b.Err(); !errors.Is(err, test.want) || test.want != nil && opError(t, "read", err) == nil {
				t.Errorf("%s: Err() = %v; want %v", test.name, err, test.want)
			}
			b.Close()
		}
	})
}
