package door_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/bridge/door"
	"xvsock/vsock"
)

func chmod(path string, mode fs.FileMode) error { return os.Chmod(path, mode) }

// own makes a program's own socket for a port.
func (w *world) own(port uint32) *net.UnixListener {
	w.t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("%s_%d", w.path, port), Net: "unix"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	l.SetDeadline(time.Now().Add(20 * time.Second))
	return l
}

func TestAConnectionGoesToTheSocketOfItsPort(t *testing.T) {
	w := newWorld(t, door.Config{})
	l := w.own(5000)
	far, err := w.dial(5000)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// Domain 0 goes by its other CID where programs are told.
	want := fmt.Sprintf("@xvsock/%d/%d/", 0x10000, far.LocalAddr().(vsock.Addr).Port)
	if name := c.RemoteAddr().String(); !strings.HasPrefix(name, want) {
		t.Errorf("it comes from %s", name)
	}
	io.WriteString(far, "question")
	far.CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "question" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	io.WriteString(c, "answer")
	c.Close()
	if got, err := io.ReadAll(far); string(got) != "answer" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAListenerHasThePortBeforeTheSocket(t *testing.T) {
	w := newWorld(t, door.Config{})
	l := w.own(5000)
	first := w.program(5000)
	if _, err := w.dial(5000); err != nil {
		t.Fatal(err)
	}
	if c, err := first.Accept(); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	l.SetDeadline(time.Now())
	if _, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the socket has it: %v", err)
	}
}

func TestSocketsThatTakeNothing(t *testing.T) {
	w := newWorld(t, door.Config{})
	stale := w.own(5000)
	stale.SetUnlinkOnClose(false)
	stale.Close()
	w.own(5001)
	if err := os.Symlink(w.path+"_5001", w.path+"_5002"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.path+"_5003", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.own(1000) // a privileged port, and not root's
	if err := os.Chown(w.path+"_1000", 65534, -1); err != nil {
		t.Skip(err)
	}
	w.own(1001)
	dgram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: w.path + "_5004", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer dgram.Close()
	for name, test := range map[string]struct {
		port uint32
		want error
	}{
		"one that nobody listens at": {5000, syscall.ECONNREFUSED},
		"a link":                     {5002, syscall.ECONNREFUSED},
		"a file":                     {5003, syscall.ECONNREFUSED},
		"one for datagrams":          {5004, syscall.ECONNREFUSED},
		"none":                       {5005, syscall.ECONNREFUSED},
		"another's for a low port":   {1000, syscall.ECONNREFUSED},
		"root's for a low port":      {1001, nil},
		"what the link leads to":     {5001, nil},
	} {
		if _, err := w.dial(test.port); !errors.Is(err, test.want) || test.want == nil && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A program that accepts nothing holds up nobody: neither the link, nor other ports.
func TestAFullBacklogRefuses(t *testing.T) {
	w := newWorld(t, door.Config{})
	w.echo(7)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: w.path + "_5000"}), unix.Listen(fd, 3)); err != nil {
		t.Fatal(err)
	}
	taken := 0
	for ; taken < 50; taken++ {
		if _, err := w.dial(5000); err != nil {
			if !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("refused with %v", err)
			}
			break
		}
	}
	if taken != 4 { // unix(7): one more than the backlog
		t.Errorf("%d connections fit", taken)
	}
	if c, err := w.DialContext(t.Context(), "@backend:7"); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
}

func TestAfterTheDoorsEndNothingIsDelivered(t *testing.T) {
	w := newWorld(t, door.Config{})
	l := w.own(5000)
	far, err := w.dial(5000)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w.stop()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the program reads %v", err)
	}
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the other domain reads %v", err)
	}
	if _, err := w.dial(5000); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v", err)
	}
}
