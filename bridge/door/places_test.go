package door_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/bridge/door"
	"xvsock/mux"
	"xvsock/vsock"
)

// A peer that fills whatever a program listens on takes nothing that programs need to
// connect and listen themselves.
func TestPeersTakeNoPlaceOfPrograms(t *testing.T) {
	w := newWorld(t, door.Config{Total: 4, PerUser: 4})
	w.echo(7)
	w.own(5000)
	for range 4 {
		if _, err := w.dial(5000); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.dial(5000); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("one too many: %v", err)
	}
	for range 3 {
		w.connect("CONNECT @backend 7\n").begins("OK")
	}
	w.connect("LISTEN 5001\n").begins("OK")
	w.connect("CONNECT @backend 7\n").begins("ERR ENOBUFS too many connections of programs are open, 4")
}

func TestNoUserHasAllConnectionsWithADomain(t *testing.T) {
	w := newWorld(t, door.Config{PerDomain: 2})
	w.echo(7)
	first := w.connect("CONNECT @backend 7\n")
	first.begins("OK")
	w.connect("CONNECT dom0 echo\n").begins("OK")
	over := w.connect("CONNECT @backend 7\n")
	over.begins(fmt.Sprintf(`ERR ENOBUFS too many connections of user %d with "@backend" are open, 2`, os.Getuid()))
	over.ended()
	w.program(5000)
	w.connect("CONNECT self 5000\n").begins("OK") // another domain
	asNobody(w, "CONNECT @backend 7\n").begins("OK")
	first.Close()
	await(t, "a place", func() bool {
		c := w.connect("CONNECT @backend 7\n")
		defer c.Close()
		return strings.HasPrefix(c.line(), "OK")
	})
}

// However a domain is called, it is one.
func TestADomainWithTwoCIDsIsOne(t *testing.T) {
	path, h, _ := hangingDoorWith(t, door.Config{PerDomain: 2})
	for _, name := range []string{"2", "65538"} {
		connect(t, path, "CONNECT "+name+" 7\n")
		<-h.begun
	}
	connect(t, path, "CONNECT 0x10002 7\n").begins("ERR ENOBUFS too many")
	connect(t, path, "CONNECT 3 7\n")
	<-h.begun
}

func TestNoPeerHasAllThatComesIn(t *testing.T) {
	w := newWorld(t, door.Config{PerDomain: 2})
	w.own(5000)
	w.own(5001)
	_ = os.Chown(w.path+"_5001", 65534, -1) // root's test: whose program it is does not matter
	for _, port := range []uint32{5000, 5001} {
		if _, err := w.dial(port); err != nil {
			t.Fatal(err)
		}
	}
	for _, port := range []uint32{5000, 5001} {
		if _, err := w.dial(port); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("one too many: %v", err)
		}
	}
	l := w.program(5002)
	for range 2 { // this domain is another
		w.connect("CONNECT self 5002\n").begins("OK")
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
}

// The users of this domain are not each other's: what one connects to takes no place of
// another's listener.
func TestUsersOfTheDomainTakeEachOtherNothing(t *testing.T) {
	w := newWorld(t, door.Config{PerDomain: 2})
	w.own(5000)
	w.own(5001)
	if err := os.Chown(w.path+"_5001", 65534, -1); err != nil {
		t.Skip(err)
	}
	for range 2 {
		w.connect("CONNECT self 5000\n").begins("OK")
	}
	asNobody(w, "CONNECT self 5000\n").begins("ERR ECONNREFUSED")
	asNobody(w, "CONNECT self 5001\n").begins("OK")
}

func TestWhoGetsNoRoomIsToldOfWhat(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"here":  {syscall.ENOBUFS, `ERR ENOBUFS no room for another connection with "5": as many are open as may be, or its receive memory is used up`},
		"there": {&mux.ResetError{Reason: mux.ReasonBudget, Dial: true}, `ERR ENOBUFS "5" or the policy (conns=, rate=) has no room for another connection: connection out of budget`},
	} {
		t.Run(name, func(t *testing.T) {
			path := tempDir(t) + "/s"
			run(t, door.New(door.Config{Path: path, Resolve: resolve}), failing{test.err}, path)
			c := connect(t, path, "CONNECT 5 7\n")
			if got := c.line(); got != test.want {
				t.Errorf("%s", got)
			}
		})
	}
}

// failing is a Stack whose Dials fail.
type failing struct{ err error }

func (f failing) Listen(uint32) (*vsock.Listener, error) { return nil, syscall.EADDRINUSE }

func (f failing) Dial(context.Context, vsock.Addr) (*vsock.Conn, error) {
	return nil, &net.OpError{Op: "dial", Net: "vsock", Err: f.err}
}

// Who does not read what comes keeps no more than this of the domain's memory.
func TestTheKernelKeepsLittleOfAStream(t *testing.T) {
	const most = 128 << 10
	w := newWorld(t, door.Config{})
	far := w.listen(9)
	accept := func(l net.Listener) net.Conn {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial := func(port uint32) net.Conn {
		c, err := w.dial(port)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for name, open := range map[string]func() (program, peer net.Conn){
		"connected": func() (net.Conn, net.Conn) {
			c, err := w.DialContext(t.Context(), "@backend:9")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return c, accept(far)
		},
		"accepted": func() (net.Conn, net.Conn) {
			l := w.program(5000)
			peer := dial(5000)
			return accept(l), peer
		},
		"delivered": func() (net.Conn, net.Conn) {
			l := w.own(5001)
			peer := dial(5001)
			return accept(l), peer
		},
	} {
		t.Run(name, func(t *testing.T) {
			program, peer := open()
			peer.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			if _, err := peer.Write(make([]byte, 8<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a peer writes without end: %v", err)
			}
			if n := unread(t, program); n == 0 || n > most {
				t.Errorf("%d bytes wait in the kernel; want at most %d", n, most)
			}
		})
	}
}

// unread is how much of a stream the kernel has.
func unread(t *testing.T, c net.Conn) (n int) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return n
}
