// Package afsock is the kernel's AF_VSOCK sockets as connections and listeners of
// package net, for a program that carries between them and other kinds.
//
// Nothing here knows of links: whatever transport the kernel has serves these sockets,
// in a Xen domain that is the bridge of its daemon. What the kernel can say, it says
// as its errno: there a refusal and a denial are both ECONNRESET.
package afsock

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/vsock"
)

// The operations that errors name.
const (
	opDial   = "dial"
	opListen = "listen"
	opAccept = "accept"
	opRead   = "read"
	opWrite  = "write"
	opClose  = "close"
	opSet    = "set"
)

// network is what errors name; vsock.Addr says the same.
const network = "vsock"

// socket is what connections and listeners have: a file that the runtime's poller waits
// for, which has deadlines and whose Close ends what waits.
type socket struct {
	*os.File
	closed atomic.Bool
}

// open returns a new stream socket.
func open() (*socket, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return newSocket(fd), nil
}

// newSocket returns the socket of a descriptor that does not block, and owns it.
func newSocket(fd int) *socket { return &socket{File: os.NewFile(uintptr(fd), network)} }

// Close closes the file.
func (s *socket) Close() error {
	s.closed.Store(true)
	return s.File.Close()
}

// control runs f with the descriptor.
func (s *socket) control(f func(fd int) error) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// bare is err without the file that an *os.File names.
func (s *socket) bare(err error) error {
	var errno syscall.Errno
	if s.closed.Load() && !errors.As(err, &errno) {
		return net.ErrClosed // not all that a file returns then can be told apart
	}
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// addrOf is a socket address as the kernel tells it.
func addrOf(sa unix.Sockaddr) vsock.Addr {
	if vm, ok := sa.(*unix.SockaddrVM); ok {
		return vsock.Addr{CID: vm.CID, Port: vm.Port}
	}
	return vsock.Addr{}
}

// opError wraps err as every connection and listener of package net does.
func opError(op string, err error, source, addr net.Addr) error {
	return &net.OpError{Op: op, Net: network, Source: source, Addr: addr, Err: err}
}

// Dial connects to addr, whose CID is as the kernel has it. If ctx has a deadline the
// kernel tries for that long, otherwise for its default, which is 2 s (af_vsock.c). The
// error is a *net.OpError around an errno, or the error of ctx.
func Dial(ctx context.Context, addr vsock.Addr) (*Conn, error) {
	fail := func(err error) (*Conn, error) { return nil, opError(opDial, err, nil, addr) }
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	s, err := open()
	if err != nil {
		return fail(err)
	}
	err = connect(ctx, s, addr)
	if err == nil {
		var c *Conn
		if c, err = newConn(s, addr); err == nil {
			return c, nil
		}
	}
	s.Close()
	return fail(err)
}

// connect begins to connect and waits for the outcome, or for the end of ctx.
func connect(ctx context.Context, s *socket, addr vsock.Addr) error {
	err := s.control(func(fd int) error {
		if until, ok := ctx.Deadline(); ok {
			tv := unix.NsecToTimeval(max(time.Until(until), time.Millisecond).Nanoseconds())
			// Where it cannot be set the kernel's default holds, and ctx.
			_ = unix.SetsockoptTimeval(fd, unix.AF_VSOCK, unix.SO_VM_SOCKETS_CONNECT_TIMEOUT, &tv)
		}
		return unix.Connect(fd, &unix.SockaddrVM{CID: addr.CID, Port: addr.Port})
	})
	if !errors.Is(err, syscall.EINPROGRESS) {
		return err
	}
	stop := context.AfterFunc(ctx, func() { s.SetWriteDeadline(time.Unix(1, 0)) })
	err = outcome(s)
	if !stop() {
		return ctx.Err()
	}
	return err
}

// outcome waits until the socket is connected or has failed to.
func outcome(s *socket) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) (done bool) {
		failed, done = connected(int(fd))
		return done
	})
	if err != nil {
		return err
	}
	return failed
}

// connected asks a socket how far its connecting is. The poller may say that it is
// writable before there is an outcome: a new socket is.
func connected(fd int) (err error, done bool) {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return err, true
	case n != 0:
		return syscall.Errno(n), true
	}
	if _, err := unix.Getpeername(fd); !errors.Is(err, syscall.ENOTCONN) {
		return err, true
	}
	return nil, false
}
