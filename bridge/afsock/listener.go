package afsock

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"xvsock/vsock"
)

// Listener takes the connections to a port. It implements net.Listener.
type Listener struct {
	socket *socket
	addr   vsock.Addr
}

var _ net.Listener = (*Listener)(nil)

// Listen takes the connections to a port of this machine from every CID; 0 picks a free
// one. A port below 1024 takes the right to (EACCES). The error is a *net.OpError around
// an errno; EAFNOSUPPORT says that the kernel has no AF_VSOCK.
func Listen(port uint32) (*Listener, error) {
	asked := vsock.Addr{CID: unix.VMADDR_CID_ANY, Port: port}
	s, err := open()
	if err != nil {
		return nil, opError(opListen, err, nil, asked)
	}
	if port == 0 {
		port = unix.VMADDR_PORT_ANY
	}
	l := &Listener{socket: s}
	err = s.control(func(fd int) error {
		if err := unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port}); err != nil {
			return err
		}
		if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
			return err
		}
		sa, err := unix.Getsockname(fd)
		l.addr = addrOf(sa)
		return err
	})
	if err != nil {
		s.Close()
		return nil, opError(opListen, err, nil, asked)
	}
	return l, nil
}

// Accept implements net.Listener. What it returns is a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	raw, err := l.socket.SyscallConn()
	if err != nil {
		return nil, l.fail(opAccept, err)
	}
	var fd int
	var from unix.Sockaddr
	var failed error
	err = raw.Read(func(listening uintptr) (done bool) {
		fd, from, failed = accept(int(listening))
		return !errors.Is(failed, syscall.EAGAIN)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, l.fail(opAccept, err)
	}
	s := newSocket(fd)
	c, err := newConn(s, addrOf(from))
	if err != nil {
		s.Close()
		return nil, l.fail(opAccept, err)
	}
	return c, nil
}

// accept takes one connection, and passes over those that ended before.
func accept(listening int) (int, unix.Sockaddr, error) {
	for {
		fd, from, err := unix.Accept4(listening, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err != syscall.EINTR && err != syscall.ECONNABORTED {
			return fd, from, err
		}
	}
}

// Close implements net.Listener.
func (l *Listener) Close() error { return l.fail(opClose, l.socket.Close()) }

// Addr returns a vsock.Addr.
func (l *Listener) Addr() net.Addr { return l.addr }

func (l *Listener) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return opError(op, l.socket.bare(err), nil, l.addr)
}
