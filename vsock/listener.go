package vsock

import (
	"net"
	"os"
	"slices"
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
	port  uint32

	mu      sync.Mutex
	waiting []*Conn // oldest first
	perPeer map[xen.DomID]int
	closed  bool
	until   time.Time     // the deadline; zero: none
	alarm   *time.Timer   // wakes who waits at until
	changed chan struct{} // capacity 1: look again
}

var _ net.Listener = (*Listener)(nil)

// newListener returns a Listener that is not registered yet.
func newListener(s *Stack, port uint32) *Listener {
	return &Listener{stack: s, port: port, perPeer: make(map[xen.DomID]int), changed: make(chan struct{}, 1)}
}

// Addr returns the address listened on, an Addr. It changes with the domain's id.
func (l *Listener) Addr() net.Addr { return l.addr() }

func (l *Listener) addr() Addr { return Addr{CID: uint32(l.stack.Self()), Port: l.port} }

// Accept waits for the next connection, a *Conn. It returns net.ErrClosed after
// Close and os.ErrDeadlineExceeded after the deadline, in a *net.OpError. A
// connection that was reset while it waited is returned as well: what came on it
// can be read.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.take()
		if err != nil {
			return nil, listenError(opAccept, err, l.addr())
		}
		if c != nil {
			return c, nil
		}
		<-l.changed
	}
}

// take returns the oldest waiting connection, or nil if there is none. Whoever
// leaves something for the next Accept signals it, as one signal wakes one.
func (l *Listener) take() (*Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		l.signal()
		return nil, net.ErrClosed
	case !l.until.IsZero() && time.Until(l.until) <= 0:
		l.signal()
		return nil, os.ErrDeadlineExceeded
	case len(l.waiting) == 0:
		return nil, nil
	}
	c := l.waiting[0]
	l.waiting = slices.Delete(l.waiting, 0, 1)
	if l.perPeer[c.Peer()]--; l.perPeer[c.Peer()] == 0 {
		delete(l.perPeer, c.Peer())
	}
	if len(l.waiting) > 0 {
		l.signal()
	}
	return c, nil
}

// signal makes one Accept look again. The caller holds mu.
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
		return listenError(opSet, net.ErrClosed, l.addr())
	}
	l.until = t
	l.arm()
	l.signal()
	return nil
}

// arm sets the alarm for the deadline. The caller holds mu.
func (l *Listener) arm() {
	if l.alarm != nil {
		l.alarm.Stop()
		l.alarm = nil
	}
	if !l.until.IsZero() && !l.closed {
		l.alarm = time.AfterFunc(time.Until(l.until), l.ring)
	}
}

// ring is the alarm. It may come for an earlier deadline, or before its time if
// the deadline has no monotonic clock reading.
func (l *Listener) ring() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Until(l.until) > 0 {
		l.arm()
		return
	}
	l.signal()
}

// Close frees the port, resets the connections that nobody has accepted, and
// unblocks Accept.
func (l *Listener) Close() error {
	l.stack.unlisten(l)
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return listenError(opClose, net.ErrClosed, l.addr())
	}
	l.closed = true
	waiting := l.waiting
	l.waiting, l.perPeer = nil, nil
	l.arm()
	l.signal()
	l.mu.Unlock()
	for _, c := range waiting {
		c.abort(mux.ReasonRefused)
	}
	return nil
}

// acceptor hands the connections of one session to a Listener. It implements
// mux.Acceptor.
type acceptor struct {
	l   *Listener
	ses *session
}

// Offer implements mux.Acceptor.
func (a acceptor) Offer(c *mux.Conn) bool {
	return a.l.offer(newConn(c, a.ses, a.l.stack.Self()))
}

// Listen listens on port, or on a free ephemeral port if port is 0. A port that
// is taken gives EADDRINUSE; the manager's port outside the backend's domain and
// PortAny give EACCES; a Stack that was closed net.ErrClosed.
func (s *Stack) Listen(port uint32) (*Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr := Addr{CID: uint32(s.Self()), Port: port}
	switch {
	case s.closed():
		return nil, listenError(opListen, net.ErrClosed, addr)
	case port == PortAny, port == PortManager && !s.cfg.Backend:
		return nil, listenError(opListen, syscall.EACCES, addr)
	case port == PortReserved:
		addr.Port = s.freePort()
	case s.listeners[port] != nil:
		return nil, listenError(opListen, syscall.EADDRINUSE, addr)
	}
	l := newListener(s, addr.Port)
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
	if s.listeners[l.port] == l {
		delete(s.listeners, l.port)
	}
}
