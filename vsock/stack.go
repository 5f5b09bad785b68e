package vsock

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"

	"xvsock/link"
	"xvsock/mux"
	"xvsock/xen"
)

// Receive memory, in bytes (design, section 5, "Memory").
const (
	defaultPeerBudget = 4 << 20
	minDaemonBudget   = 8 << 20
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
type Stack struct {
	cfg    Config
	budget *mux.Budget

	mu         sync.Mutex
	sessions   map[xen.DomID]*session
	backend    xen.DomID // whose link is the front link
	hasBackend bool
	listeners  map[uint32]*Listener
	lastPort   uint32
	closed     bool

	loops sync.WaitGroup
}

// session is the connections over one link.
type session struct {
	*mux.Session
	link *link.Link
}

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
		listeners: make(map[uint32]*Listener),
		lastPort:  lastEphemeral,
	}
}

// Self is the domain whose sockets these are.
func (s *Stack) Self() xen.DomID { return s.cfg.Self }

// Serve runs the connections of a link until it ends, and returns why. The link
// is not used any more then; closing it is the caller's. front says that the
// other domain is our backend.
func (s *Stack) Serve(l *link.Link, front bool) error {
	ses, err := s.add(l, front)
	if err != nil {
		return err
	}
	defer s.remove(ses)
	return ses.Run()
}

// add routes l's domain to a new session.
func (s *Stack) add(l *link.Link, front bool) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, net.ErrClosed
	}
	if s.sessions[l.Peer()] != nil {
		return nil, fmt.Errorf("serve link to domain %v: there is one already", l.Peer())
	}
	ses := s.newSession(l)
	s.sessions[l.Peer()] = ses
	if front {
		s.backend, s.hasBackend = l.Peer(), true
	}
	return ses, nil
}

// newSession makes the session of l.
func (s *Stack) newSession(l *link.Link) *session {
	peer := l.Peer()
	return &session{link: l, Session: mux.NewSession(transport{l}, mux.Config{
		Route:  func(local, _ uint32) (mux.Acceptor, mux.Reason) { return s.route(peer, local) },
		Budget: mux.NewBudget(s.cfg.PeerMemory, s.budget),
		Log:    s.cfg.Log.With("domain", peer),
	})}
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
func (s *Stack) route(peer xen.DomID, local uint32) (mux.Acceptor, mux.Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, mux.ReasonShuttingDown
	}
	if l := s.listeners[local]; l != nil {
		return acceptor{l: l, peer: peer}, mux.ReasonNone
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

// Peers lists the links that are up, by domain id.
func (s *Stack) Peers() []Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Peer
	for _, id := range slices.Sorted(maps.Keys(s.sessions)) {
		ses := s.sessions[id]
		all = append(all, Peer{
			Domain: id, Backend: s.hasBackend && s.backend == id,
			Conns: len(ses.Conns()), Pages: ses.link.Pages(),
		})
	}
	return all
}

// Close closes all listeners and resets all connections. The links end.
func (s *Stack) Close() error {
	s.mu.Lock()
	s.closed = true
	listeners := slices.Collect(maps.Values(s.listeners))
	sessions := slices.Collect(maps.Values(s.sessions))
	s.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	for _, ses := range sessions {
		ses.Close()
	}
	s.loops.Wait()
	return nil
}

// transport is a link as mux wants it: what mux found wrong gets its cause here,
// where both are known.
type transport struct{ *link.Link }

// Fail implements mux.Transport.
func (t transport) Fail(reason error) {
	var lie *mux.ProtocolError
	switch {
	case errors.As(reason, &lie):
		t.End(link.Broken, reason)
	case errors.Is(reason, mux.ErrSilent):
		t.End(link.Silent, reason)
	default:
		t.End(link.Closed, reason)
	}
}
