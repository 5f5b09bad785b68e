package vsock

import (
	"net"
	"time"

	"xvsock/mux"
	"xvsock/xen"
)

// Conn is a connection between two ports. It implements net.Conn, and half-close
// by CloseRead and CloseWrite. Its methods may be called by many goroutines at
// once.
type Conn struct {
	c             *mux.Conn
	ses           *session
	local, remote Addr
}

var _ interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
} = (*Conn)(nil)

// newConn gives addresses to a connection of ses.
func newConn(c *mux.Conn, ses *session, self xen.DomID) *Conn {
	return &Conn{
		c:      c,
		ses:    ses,
		local:  Addr{CID: uint32(self), Port: c.LocalPort()},
		remote: Addr{CID: uint32(ses.link.Peer()), Port: c.RemotePort()},
	}
}

// Peer is the domain at the other end: the one whose link the connection came
// over, whatever its bytes claim (rule R8).
func (c *Conn) Peer() xen.DomID { return xen.DomID(c.remote.CID) }

// LinkSerial names the link which the connection came over, or was made on: no
// other link of this process has the same (rule R14).
func (c *Conn) LinkSerial() uint64 { return c.ses.link.Serial() }

// Privileged reports whether the other end's port is below 1024: there the kernel
// of the other domain lets only its root speak.
func (c *Conn) Privileged() bool { return c.remote.Port <= lastPrivileged }

// LocalAddr returns this end's address, an Addr.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other end's address, an Addr.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Read implements net.Conn. It returns io.EOF after the other end has closed its
// sending side and everything was read, ECONNRESET when the connection or its
// link was lost.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.c.Read(b)
	return n, c.wrap(opRead, err)
}

// Write implements net.Conn. It returns once all of b lies in the ring.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.c.Write(b)
	return n, c.wrap(opWrite, err)
}

// Close ends the connection and unblocks Read and Write. What was written is
// still delivered.
func (c *Conn) Close() error { return c.wrap(opClose, c.c.Close()) }

// Reset ends the connection in place of Close: the other end reads what was written,
// and then ECONNRESET instead of io.EOF, so that it does not take a part for the
// whole. What CloseWrite has ended before stays ended.
func (c *Conn) Reset() error { return c.wrap(opClose, c.c.Reset(mux.ReasonNone)) }

// Done returns a channel that is closed when the connection carries nothing more:
// either end has closed or reset it, both directions have ended, or its link was
// lost. What was received before can still be read; as long as there is some, a
// connection that the other end closed goes on for up to 8 s.
func (c *Conn) Done() <-chan struct{} { return c.c.Done() }

// Err returns why the connection was lost, an error as of Read; nil as long as it
// was not, and for good if both directions had ended before.
func (c *Conn) Err() error { return c.wrap(opRead, c.c.Err()) }

// CloseRead says that no more is read; what still comes is dropped.
func (c *Conn) CloseRead() error { return c.wrap(opClose, c.c.CloseRead()) }

// CloseWrite says that no more is written: the other end reads io.EOF after what
// was.
func (c *Conn) CloseWrite() error { return c.wrap(opClose, c.c.CloseWrite()) }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error { return c.wrap(opSet, c.c.SetDeadline(t)) }

// SetReadDeadline sets the deadline of Read; the zero time takes it away.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.wrap(opSet, c.c.SetReadDeadline(t)) }

// SetWriteDeadline sets the deadline of Write; the zero time takes it away.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.wrap(opSet, c.c.SetWriteDeadline(t)) }

// wrap is connError with the connection's addresses.
func (c *Conn) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return connError(op, err, c.local, c.remote)
}

// abort ends the connection with RST for the given reason, whatever it carries.
// It is for connections that no program has seen: a tuple that was reset may be
// another connection's by the time abort comes to it.
func (c *Conn) abort(r mux.Reason) {
	c.ses.Reset(func(local, remote uint32, incoming bool) bool {
		return incoming && local == c.local.Port && remote == c.remote.Port
	}, r)
	_ = c.c.Close() // for the receive memory
}
