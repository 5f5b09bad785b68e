package afsock

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"
	"golang.org/x/sys/unix"

	"xvsock/vsock"
)

// pair returns two connections of which only the address family is another's: no kernel
// without a transport joins two AF_VSOCK sockets, and all the rest is the same.
func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*Conn
	for i, fd := range fds {
		if conns[i], err = newConn(newSocket(fd), vsock.Addr{CID: 3, Port: uint32(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	return conns[0], conns[1]
}

func TestConnIsANetConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b := pair(t)
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}

func TestADirectionEndsByItself(t *testing.T) {
	a, b := pair(t)
	defer a.Close()
	defer b.Close()
	io.WriteString(a, "last")
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(b); string(all) != "last" || err != nil {
		t.Errorf("read %q, %v", all, err)
	}
	io.WriteString(b, "answer")
	if _, err := io.ReadFull(a, make([]byte, 6)); err != nil {
		t.Error(err)
	}
	if err := b.CloseRead(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write([]byte("x")); err != nil {
		t.Errorf("who reads no more cannot write: %v", err)
	}
	if err := a.CloseRead(); err != nil {
		t.Fatal(err)
	}
	_, err := b.Write([]byte("x"))
	if !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a write that nobody reads gives %v", err)
	}
}

func TestErrorsAreThoseOfPackageNet(t *testing.T) {
	a, b := pair(t)
	b.Close()
	a.SetDeadline(time.Unix(1, 0))
	_, err := a.Write([]byte("x"))
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != opWrite || op.Net != network || op.Addr != (vsock.Addr{CID: 3, Port: 1}) ||
		!op.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %#v", err)
	}
	a.SetDeadline(time.Time{})
	if _, err := a.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	a.Close()
	for what, err := range map[string]error{
		"close": a.Close(), "close the writing": a.CloseWrite(), "set a deadline": a.SetDeadline(time.Now()),
	} {
		if !errors.As(err, &op) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
}

// listen listens, where the kernel has AF_VSOCK.
func listen(t *testing.T, port uint32) *Listener {
	t.Helper()
	l, err := Listen(port)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		t.Skipf("this kernel has no AF_VSOCK, load the module vsock: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestListenPicksAPortAndCloseEndsAccept(t *testing.T) {
	l := listen(t, 0)
	addr, ok := l.Addr().(vsock.Addr)
	if !ok || addr.Port == 0 || addr.Port == unix.VMADDR_PORT_ANY {
		t.Errorf("it listens at %v", l.Addr())
	}
	_, err := Listen(addr.Port)
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != opListen || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("on the same port again: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		done <- err
	}()
	time.Sleep(10 * time.Millisecond) // so that it waits, mostly
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, net.ErrClosed) || !errors.As(err, &op) || op.Op != opAccept {
		t.Errorf("Accept ends with %v", err)
	}
	listen(t, addr.Port) // which is free again
}

func TestDialEndsWithItsContext(t *testing.T) {
	l := listen(t, 0) // and so there is AF_VSOCK
	addr := l.Addr().(vsock.Addr)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Dial(ctx, addr); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	// This machine has no CID 77777777: there is no answer, or no way.
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := Dial(ctx, vsock.Addr{CID: 77777777, Port: 1})
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != opDial || time.Since(began) > time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	ctx, cancel = context.WithCancel(t.Context()) // of which the kernel knows nothing
	defer cancel()
	time.AfterFunc(50*time.Millisecond, cancel)
	began = time.Now()
	if _, err = Dial(ctx, vsock.Addr{CID: 77777777, Port: 1}); !errors.As(err, &op) || time.Since(began) > time.Second {
		t.Errorf("cancelled, after %v: %v", time.Since(began), err)
	}
}

func TestNoDescriptorIsLeft(t *testing.T) {
	count := func() int {
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(open)
	}
	listen(t, 0).Close()
	before := count()
	for range 50 {
		l := listen(t, 0)
		Listen(l.Addr().(vsock.Addr).Port)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		Dial(ctx, vsock.Addr{CID: 77777777, Port: 1})
		cancel()
		l.Close()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
