package mux

import (
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Addr is a port, the address of a Conn within its link.
type Addr struct{ Port uint32 }

// Network returns "vsock".
func (a Addr) Network() string { return "vsock" }

// String returns the port in decimal.
func (a Addr) String() string { return strconv.FormatUint(uint64(a.Port), 10) }

// Conn is one end of a connection. It is a net.Conn with CloseRead and
// CloseWrite; all its methods may be called by any goroutine.
//
// Its errors are bare: io.EOF, os.ErrDeadlineExceeded, net.ErrClosed after its
// own Close, syscall.EPIPE for a Write that the other side, or CloseWrite,
// stopped, and *ResetError. What was received before a reset is read first.
//
// A Conn holds receive budget until it is closed.
type Conn struct {
	lane
	s        *Session
	incoming bool

	recv   receiver
	credit peerCredit
	sent   atomic.Uint32 // bytes put into the ring, wraps

	// starved says that data waits for credit, or for the connection to open.
	starved atomic.Bool

	writing sync.Mutex // one Write at a time, so that none is torn

	// What follows is guarded by Session.mu.

	state    state
	open     bool     // frames may be sent
	pending  pendings // control frames that want to be sent
	reason   Reason   // of the pending RST
	answered bool     // REQUEST was, with RESPONSE
	shut     uint32   // SHUTDOWN flags of this side, sent or pending
	peerShut uint32   // SHUTDOWN flags of the other side
	closed   bool     // by Close
	over     bool     // nothing more is carried
	lost     *ResetError
	done     chan struct{} // closed with over; nil until somebody asks

	out      []byte // what is left of the Write going on
	wrote    int    // bytes of it in the ring
	writeErr error  // for Write, and for Dial
	cond     sync.Cond
	deadline deadline // of Write
}

var _ net.Conn = (*Conn)(nil)

// newConn returns a connection that is in no table yet, or nil if there is no
// budget for it. Until it is open it sends nothing.
func newConn(s *Session, k tuple, incoming bool) *Conn {
	c := &Conn{s: s, incoming: incoming}
	if !c.recv.init(s.cfg.Budget, k.local) {
		return nil
	}
	c.cond.L = &s.mu
	c.lane.init(k, c)
	return c
}

// LocalPort returns the port of this side.
func (c *Conn) LocalPort() uint32 { return c.key.local }

// RemotePort returns the port of the other side.
func (c *Conn) RemotePort() uint32 { return c.key.remote }

// Incoming says whether the other side made the connection.
func (c *Conn) Incoming() bool { return c.incoming }

// LocalAddr returns an Addr.
func (c *Conn) LocalAddr() net.Addr { return Addr{c.key.local} }

// RemoteAddr returns an Addr.
func (c *Conn) RemoteAddr() net.Addr { return Addr{c.key.remote} }

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	n, update, last, err := c.recv.read(p, c.serveRead)
	switch {
	case last:
		c.s.locked(c.settleShutdown)
	case update:
		c.s.locked(func() { c.want(pendCreditUpdate) })
	}
	return n, err
}

// serveRead looks for what a Read waits for.
func (c *Conn) serveRead() { c.s.serve(c, (*Conn).readable) }

// readable is the goal of a Read: whether some Read that waits would return.
func (c *Conn) readable() (readable, hungry bool) {
	c.recv.mu.Lock()
	readable, hungry = c.recv.awaited(true), c.recv.hungry()
	c.recv.mu.Unlock()
	return readable, hungry
}

// CloseRead shuts the receiving half: Read returns io.EOF from now on, what was
// received is dropped, and the other side can write no more.
func (c *Conn) CloseRead() error { return c.shutdown(shutReceive, nil) }

// CloseWrite shuts the sending half, after the data of all Writes that have
// returned: the other side then reads io.EOF. A Write going on is stopped.
func (c *Conn) CloseWrite() error { return c.shutdown(shutSend, nil) }

// Close shuts both halves and frees the receive memory. It does not wait: what
// Writes have put into the ring stays there, and the tuple ends when the other
// side answers with RST, or 8 s later.
func (c *Conn) Close() error { return c.shutdown(shutBoth, net.ErrClosed) }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	r := &c.recv
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return net.ErrClosed
	}
	r.deadline.set(t, c.readDeadlinePassed)
	r.cond.Broadcast()
	return nil
}

func (c *Conn) readDeadlinePassed() {
	r := &c.recv
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline.rearm()
	r.cond.Broadcast()
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.deadline.set(t, c.writeDeadlinePassed)
	c.cond.Broadcast()
	return nil
}

func (c *Conn) writeDeadlinePassed() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.deadline.rearm()
	c.cond.Broadcast()
}
