package afsock

import (
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/vsock"
)

// Conn is a connection. It implements net.Conn and syscall.Conn; its methods may be
// called by many goroutines at once. AF_VSOCK has no way to say that a connection is
// lost: its other end reads Close as the end of the stream.
type Conn struct {
	socket        *socket
	local, remote vsock.Addr
}

var (
	_ net.Conn     = (*Conn)(nil)
	_ syscall.Conn = (*Conn)(nil)
)

// newConn returns the connection of a connected socket, which it owns if there is no
// error.
func newConn(s *socket, remote vsock.Addr) (*Conn, error) {
	c := &Conn{socket: s, remote: remote}
	return c, s.control(func(fd int) error {
		sa, err := unix.Getsockname(fd)
		c.local = addrOf(sa)
		return err
	})
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.socket.Read(p)
	if err == io.EOF {
		return n, err
	}
	return n, c.fail(opRead, err)
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.socket.Write(p)
	return n, c.fail(opWrite, err)
}

// Close implements net.Conn.
func (c *Conn) Close() error { return c.fail(opClose, c.socket.Close()) }

// CloseRead says that nothing more is read. What the other end writes fails with EPIPE.
func (c *Conn) CloseRead() error { return c.shutdown(unix.SHUT_RD) }

// CloseWrite says that nothing more is written: the other end reads the end of the
// stream.
func (c *Conn) CloseWrite() error { return c.shutdown(unix.SHUT_WR) }

func (c *Conn) shutdown(how int) error {
	return c.fail(opClose, c.socket.control(func(fd int) error { return unix.Shutdown(fd, how) }))
}

// LocalAddr returns a vsock.Addr: this end as the kernel calls it.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns a vsock.Addr: the other end as the kernel calls it.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.fail(opSet, c.socket.SetDeadline(t)) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.fail(opSet, c.socket.SetReadDeadline(t)) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.fail(opSet, c.socket.SetWriteDeadline(t))
}

// SyscallConn implements syscall.Conn.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return c.socket.SyscallConn() }

// fail is err as a connection says it.
func (c *Conn) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return opError(op, c.socket.bare(err), c.local, c.remote)
}
