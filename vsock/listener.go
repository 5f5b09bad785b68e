package vsock

import (
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"xvsock/mux"
	"xvsock/xen"
)

// peerBacklog is how many connections of one domain may wait to be accepted on
// one port. The bound is a domain's own, so that a domain that opens many
// cannot keep the others out (rule R7).
const peerBacklog = 64

// Listener accepts the connections that other domains make to one port. It
// implements net.Listener. Links may come and go below it.
type Listener struct {
	stack *Stack
	addr  Addr

	mu       sync.Mutex
	waiting  []*Conn // oldest first
	perPeer  map[xen.DomID]int
	closed   bool
	deadline *time.Timer
	late     bool          // the deadline has passed
	changed  chan struct{} // capacity 1: look again
}

var _ net.Listener = (*Listener)(nil)

// newListener returns a Listener that is not registered yet.
func newListener(s *Stack, addr Addr) *Listener {
	return &Listener{stack: s, addr: addr, perPeer: make(map[xen.DomID]int), changed: make(chan struct{}, 1)}
}

// Addr returns the address listened on.
func (l *Listener) Addr() net.Addr { return l.addr }

// Accept waits for the next connection, a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.take()
		if err != nil {
			return nil, opError(opAccept, err, l.addr, nil)
		}
		if c != nil {
			return c, nil
		}
		<-l.changed
	}
}

// take returns the oldest waiting connection, or nil if there is none.
func (l *Listener) take() (*Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		l.signal() // the next Accept too
		return nil, net.ErrClosed
	}
	if l.late {
		l.signal()
		return nil, os.ErrDeadlineExceeded
	}
	if len(l.waiting) == 0 {
		return nil, nil
	}
	c := l.waiting[0]
	l.waiting = append(l.waiting[:0], l.waiting[1:]...)
	if l.perPeer[c.Peer()]--; l.perPeer[c.Peer()] == 0 {
		delete(l.perPeer, c.Peer())
	}
	if len(l.waiting) > 0 {
		l.signal()
	}
	return c, nil
}

// signal makes one Accept look again. The caller holds mu or has just held it.
func (l *Listener) signal() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// offer queues a connection, or refuses it when its domain has enough waiting.
func (l *Listener) offer(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.perPeer[c.Peer()] >= peerBacklog {
		return false
	}
	l.perPeer[c.Peer()]++
	l.waiting = append(l.waiting, c)
	l.signal()
	return true
}

// SetDeadline sets the deadline of Accept; the zero time takes it away.
func (l *Listener) SetDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return opError(opSet, net.ErrClosed, l.addr, nil)
	}
	if l.deadline != nil {
		l.deadline.Stop()
		l.deadline = nil
	}
	l.late = false
	if t.IsZero() {
		return nil
	}
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(t), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.deadline == timer {
			l.late = true
			l.signal()
		}
	})
	l.deadline = timer
	return nil
}

// Close frees the port, resets the connections that nobody has accepted, and
// unblocks Accept.
func (l *Listener) Close() error {
	l.stack.unlisten(l)
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return opError(opClose, net.ErrClosed, l.addr, nil)
	}
	l.closed = true
	waiting := l.waiting
	l.waiting, l.perPeer = nil, nil
	if l.deadline != nil {
		l.deadline.Stop()
	}
	l.signal()
	l.mu.Unlock()
	for _, c := range waiting {
		c.Close()
	}
	return nil
}

// acceptor hands the connections of one domain to a Listener. It implements
// mux.Acceptor.
type acceptor struct {
	l    *Listener
	peer xen.DomID
}

// Offer implements mux.Acceptor.
func (a acceptor) Offer(c *mux.Conn) bool {
	return a.l.offer(newConn(c, a.l.stack.cfg.Self, a.peer))
}

// Listen listens on port, or on a free ephemeral port if port is 0. A port that
// is taken gives EADDRINUSE; the manager's port outside the backend's domain and
// the reserved ports give EACCES.
func (s *Stack) Listen(port uint32) (*Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr := Addr{CID: uint32(s.cfg.Self), Port: port}
	switch {
	case s.closed:
		return nil, opError(opListen, net.ErrClosed, addr, nil)
	case port == PortAny, port == PortManager && !s.cfg.Backend:
		return nil, opError(opListen, syscall.EACCES, addr, nil)
	case port == PortReserved:
		addr.Port = s.freePort()
	case s.listeners[port] != nil:
		return nil, opError(opListen, syscall.EADDRINUSE, addr, nil)
	}
	l := newListener(s, addr)
	s.listeners[addr.Port] = l
	return l, nil
}

// freePort returns an ephemeral port that nobody listens on. The caller holds
// mu. There are far more ephemeral ports than a process can have listeners.
func (s *Stack) freePort() uint32 {
	for s.listeners[s.nextPort()] != nil {
	}
	return s.lastPort
}

// unlisten frees l's port if l still has it.
func (s *Stack) unlisten(l *Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners[l.addr.Port] == l {
		delete(s.listeners, l.addr.Port)
	}
}
