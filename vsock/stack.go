package vsock

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"xvsock/link"
	"xvsock/mux"
	"xvsock/xen"
)

// Receive memory, in bytes (design, section 5, "Memory").
const (
	defaultPeerBudget = 4 << 20
	minDaemonBudget   = 8 << 20
)

// Close gives the other sides so long to take what is in the rings, and looks so
// often whether they have.
const (
	closeGrace = 500 * time.Millisecond
	closeLook  = 5 * time.Millisecond
)

// Config describes a Stack.
type Config struct {
	Self    xen.DomID
	Backend bool // this is the backend's domain: CIDBackend is Self, port 1 may be listened on
	// Memory bounds what all connections may hold unread, in bytes; below 8 MiB
	// it is 8 MiB.
	Memory int64
	// PeerMemory bounds the same for one domain; 0 is 4 MiB.
	PeerMemory int64
	Log        *slog.Logger // nil: none
}

// Stack is the sockets of one domain: its listeners, and a session of connections
// on each of its links. Its methods may be called by many goroutines at once.
//
// Ports are one space: listeners of the process, and what else will serve ports
// in this domain, are found by one switch, route.
//
// Locks are taken in this order: mu, Listener.mu. Neither is held over a call to
// a session.
type Stack struct {
	cfg    Config
	budget *mux.Budget // of all domains

	mu         sync.Mutex
	sessions   map[xen.DomID]*session
	budgets    map[xen.DomID]*mux.Budget
	loop       *loop     // nil until the first Dial to this domain itself
	backend    xen.DomID // whose link is the front link
	hasBackend bool
	listeners  map[uint32]*Listener
	lastPort   uint32
	closed     bool

	loops sync.WaitGroup
}

// errTwice says that a Stack serves a link to the same domain already.
var errTwice = errors.New("there is one already")

// NewStack returns a Stack without links.
func NewStack(cfg Config) *Stack {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.PeerMemory == 0 {
		cfg.PeerMemory = defaultPeerBudget
	}
	return &Stack{
		cfg:       cfg,
		budget:    mux.NewBudget(max(cfg.Memory, minDaemonBudget), nil),
		sessions:  make(map[xen.DomID]*session),
		budgets:   make(map[xen.DomID]*mux.Budget),
		listeners: make(map[uint32]*Listener),
		lastPort:  lastEphemeral,
	}
}

// Self is the domain whose sockets these are.
func (s *Stack) Self() xen.DomID { return s.cfg.Self }

// Serve runs the connections of a link until it ends, and returns why. The link
// is not used any more then; closing it is the caller's. front says that the
// other domain is our backend. A Stack has one link to a domain at a time, and
// none after Close (net.ErrClosed).
func (s *Stack) Serve(l *link.Link, front bool) error {
	ses, err := s.add(l, front)
	if err != nil {
		return fmt.Errorf("serve link to domain %v: %w", l.Peer(), err)
	}
	defer s.remove(ses)
	return ses.Run()
}

// add routes l's domain to a new session.
func (s *Stack) add(l *link.Link, front bool) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	peer := l.Peer()
	if s.closed {
		return nil, net.ErrClosed
	}
	if s.sessions[peer] != nil {
		return nil, errTwice
	}
	ses := s.newSession(l, s.budgetOf(peer))
	s.sessions[peer] = ses
	if front {
		s.backend, s.hasBackend = peer, true
	}
	return ses, nil
}

// remove takes a session that has ended out of the routes.
func (s *Stack) remove(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	peer := ses.link.Peer()
	delete(s.sessions, peer)
	if s.hasBackend && s.backend == peer {
		s.hasBackend = false
	}
}

// route is the switch that every incoming REQUEST goes through (design, section
// 5, "Ports"). It runs in a link's pump and does not wait.
func (s *Stack) route(ses *session, local uint32) (mux.Acceptor, mux.Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, mux.ReasonShuttingDown
	}
	if l := s.listeners[local]; l != nil {
		return acceptor{l: l, ses: ses}, mux.ReasonNone
	}
	return nil, mux.ReasonRefused
}

// Peer describes one link for status.
type Peer struct {
	Domain  xen.DomID
	Backend bool // it is our backend
	Conns   int  // open connections
	Pages   int  // that we have granted to it
}

// Peers lists the links to other domains that are up, by domain id.
func (s *Stack) Peers() []Peer {
	s.mu.Lock()
	sessions := maps.Clone(s.sessions)
	backend, hasBackend := s.backend, s.hasBackend
	s.mu.Unlock()
	all := make([]Peer, 0, len(sessions))
	for _, id := range slices.Sorted(maps.Keys(sessions)) {
		ses := sessions[id]
		if ses.link.Err() != nil {
			continue // ended, and about to be removed
		}
		all = append(all, Peer{
			Domain: id, Backend: hasBackend && backend == id,
			Conns: ses.Stats().Open, Pages: ses.link.Pages(),
		})
	}
	return all
}

// Close closes all listeners and resets all connections, and the links end. The
// other sides have half a second to take what was written, and the resets that
// say why; no domain can hold Close up for longer.
func (s *Stack) Close() error {
	listeners, sessions := s.shut()
	for _, l := range listeners {
		l.Close()
	}
	for _, ses := range sessions {
		ses.Reset(func(uint32, uint32, bool) bool { return true }, mux.ReasonShuttingDown)
	}
	settle(sessions)
	for _, ses := range sessions {
		ses.Close()
	}
	s.loops.Wait()
	return nil
}

// shut lets nothing new begin, and returns what there is.
func (s *Stack) shut() ([]*Listener, []*session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	sessions := slices.Collect(maps.Values(s.sessions))
	if s.loop != nil {
		sessions = append(sessions, s.loop.dialing, s.loop.accepting)
	}
	return slices.Collect(maps.Values(s.listeners)), sessions
}

// settle waits until all sessions are settled, or closeGrace has passed. A pump
// that is woken looks how far the other side is.
func settle(sessions []*session) {
	left := slices.Clone(sessions)
	for end := time.Now().Add(closeGrace); time.Now().Before(end); time.Sleep(closeLook) {
		left = slices.DeleteFunc(left, (*session).settled)
		if len(left) == 0 {
			return
		}
		for _, ses := range left {
			ses.link.Wake()
		}
	}
}
