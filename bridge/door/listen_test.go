package door_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"xvsock/bridge/door"
	"xvsock/vsock"
)

// program listens through the door.
func (w *world) program(port uint32) net.Listener {
	w.t.Helper()
	l, err := w.Listen(w.t.Context(), port)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	return l
}

func TestAProgramListensAndAccepts(t *testing.T) {
	w := newWorld(t, door.Config{})
	l := w.program(5000)
	if l.Addr() != (vsock.Addr{CID: vsock.CIDSelf, Port: 5000}) {
		t.Errorf("it listens on %v", l.Addr())
	}
	for range 3 {
		far, err := w.dial(5000)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(far, "question")
		far.CloseWrite()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if want := (vsock.Addr{CID: vsock.CIDOf(0), Port: far.LocalAddr().(vsock.Addr).Port}); c.RemoteAddr() != want {
			t.Errorf("it comes from %v, want %v", c.RemoteAddr(), want)
		}
		if got, err := io.ReadAll(c); string(got) != "question" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		io.WriteString(c, "answer")
		c.Close()
		if got, err := io.ReadAll(far); string(got) != "answer" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// A connection of the domain with itself is from the CID that AF_VSOCK shows.
func TestItsOwnDomainIsCIDSelf(t *testing.T) {
	w := newWorld(t, door.Config{})
	l := w.program(5000)
	own := w.own(5001)
	for _, address := range []string{"self:5000", "self:5001"} {
		c, err := w.DialContext(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		port := c.LocalAddr().(vsock.Addr).Port
		switch address {
		case "self:5000":
			c, err = l.Accept()
			if want := (vsock.Addr{CID: 32752, Port: port}); err == nil && c.RemoteAddr() != want {
				t.Errorf("ACCEPT tells %v; want %v", c.RemoteAddr(), want)
			}
		case "self:5001":
			c, err = own.Accept()
			if want := fmt.Sprintf("@xvsock/32752/%d/", port); err == nil && !strings.HasPrefix(c.RemoteAddr().String(), want) {
				t.Errorf("the socket sees %v; want %s...", c.RemoteAddr(), want)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
}

func TestWhichPortsAProgramGets(t *testing.T) {
	w := newWorld(t, door.Config{})
	l := w.program(5000)
	if _, err := w.Listen(t.Context(), 5000); !isErrno(err, syscall.EADDRINUSE) {
		t.Errorf("a port that is taken: %v", err)
	}
	l.Close()
	await(t, "the port", func() bool {
		l, err := w.Listen(t.Context(), 5000)
		if err == nil {
			l.Close()
		}
		return err == nil
	})
	if port := w.program(0).Addr().(vsock.Addr).Port; port < 0xC0000000 {
		t.Errorf("a free port is %d", port)
	}
	if _, err := w.Listen(t.Context(), 1); !isErrno(err, syscall.EACCES) {
		t.Errorf("the manager's: %v", err)
	}
	w.connect("LISTEN echo\n").begins("OK 7")
	w.connect("LISTEN 1023\n").begins("OK 1023")
	for _, say := range []string{"LISTEN 1022\n", "LISTEN ssh\n"} {
		asNobody(w, say).begins("ERR EACCES only root listens on port")
	}
	asNobody(w, "LISTEN 1024\n").begins("OK 1024")
	asNobody(w, "LISTEN 0\n").begins("OK ")
}

// asNobody is connectAs where the socket is for all.
func asNobody(w *world, say string) *raw {
	w.t.Helper()
	if err := chmod(w.path, 0o666); err != nil {
		w.t.Fatal(err)
	}
	return w.connectAs(65534, say)
}

func TestAListenersEndRefusesWhoWaits(t *testing.T) {
	w := newWorld(t, door.Config{})
	l := w.program(5000)
	waiting, err := w.dial(5000)
	if err != nil {
		t.Fatal(err)
	}
	accepting := make(chan error, 1)
	other := w.program(5001)
	go func() { _, err := other.Accept(); accepting <- err }()
	time.Sleep(10 * time.Millisecond) // most often it waits then
	other.Close()
	if err := <-accepting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a blocked Accept gives %v", err)
	}
	l.Close()
	if _, err := waiting.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("who waited reads %v", err)
	}
	await(t, "that nobody listens", func() bool { _, err := w.dial(5000); return errors.Is(err, syscall.ECONNREFUSED) })
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a second Close: %v", err)
	}
}

func TestAcceptedConnectionsOutliveTheirListener(t *testing.T) {
	w := newWorld(t, door.Config{})
	l := w.program(5000)
	far, err := w.dial(5000)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l.Close()
	await(t, "the listener's end", func() bool { return len(w.door.Status().Clients) == 1 })
	io.WriteString(far, "x")
	if n, err := c.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestSixteenAcceptsMayWaitAndNoMore(t *testing.T) {
	w := newWorld(t, door.Config{})
	l := w.connect("LISTEN 5000\n" + strings.Repeat("ACCEPT\n", 16))
	l.begins("OK 5000")
	for i := range 32 {
		if i == 16 { // all are answered: so many may wait again
			io.WriteString(l.UnixConn, strings.Repeat("ACCEPT\n", 16))
		}
		if _, err := w.dial(5000); err != nil {
			t.Fatal(err)
		}
		l.begins("OK 65536 3221225") // the descriptor is lost with the plain read
	}
	io.WriteString(l.UnixConn, strings.Repeat("ACCEPT\n", 17))
	l.begins("ERR ENOBUFS more than 16 ACCEPTs wait")
	l.ended()
	await(t, "the port's end", func() bool { _, err := w.dial(5000); return errors.Is(err, syscall.ECONNREFUSED) })
}

func TestAListenerSaysAcceptAndNothingElse(t *testing.T) {
	w := newWorld(t, door.Config{})
	for _, say := range []string{"CONNECT @backend 7\n", "LISTEN 5001\n", "x\n"} {
		l := w.connect("LISTEN 5000\n")
		l.begins("OK 5000")
		io.WriteString(l.UnixConn, say)
		l.begins("ERR EINVAL a listener says ACCEPT")
		l.ended()
		await(t, "the end", func() bool { return len(w.door.Status().Clients) == 0 })
	}
}

// Nobody takes the descriptor that was sent: the other domain sees an end, and no more.
func TestADescriptorThatNobodyTakesIsNoLeak(t *testing.T) {
	w := newWorld(t, door.Config{})
	before := openFiles(t)
	for range 20 {
		l := w.connect("LISTEN 5000\nACCEPT\n")
		l.begins("OK 5000")
		far, err := w.dial(5000)
		if err != nil {
			t.Fatal(err)
		}
		await(t, "the answer", func() bool { return len(w.door.Status().Clients) == 2 })
		l.UnixConn.Close()
		if _, err := io.ReadAll(far); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the other domain reads %v", err)
		}
		far.Close()
		await(t, "the end of all", func() bool { return len(w.door.Status().Clients) == 0 })
	}
	await(t, "as few descriptors as before", func() bool { return openFiles(t) <= before })
}

func TestTheDaemonsEndEndsAListener(t *testing.T) {
	w := newWorld(t, door.Config{})
	l := w.program(5000)
	failed := make(chan error, 1)
	go func() { _, err := l.Accept(); failed <- err }()
	time.Sleep(10 * time.Millisecond) // most often it waits then
	w.stop()
	if err := <-failed; !isErrno(err, syscall.ECONNRESET) || !strings.Contains(err.Error(), "daemon has ended") {
		t.Errorf("Accept gives %v", err)
	}
}
