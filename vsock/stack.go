package vsock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
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

// defaultIdle is how long a link to a peer stays without connections.
const defaultIdle = 60 * time.Second

// Config describes a Stack.
type Config struct {
	Self    xen.DomID // until SetSelf
	Backend bool      // this is the backend's domain: CIDBackend is Self, port 1 may be listened on
	// Memory bounds what all connections may hold unread, in bytes; below 8 MiB
	// it is 8 MiB.
	Memory int64
	// PeerMemory bounds the same for one domain; 0 is 4 MiB. A domain gets less
	// when others hold much (mux.Budget).
	PeerMemory int64
	// MaxConns bounds the connections over one link; 0: mux.DefaultMaxConns.
	MaxConns int
	Guard    Guard  // who decides who may connect; nil: everybody may
	Broker   Broker // who makes links to peers; nil: nobody does
	Locals   Locals // the other programs of the domain; nil: none
	// Idle is how long a ToPeer link stays without connections, and twice that if
	// the other domain made the last one (mux.Config.Idle); 0: 60 s.
	Idle time.Duration
	Log  *slog.Logger // nil: none
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

	self atomic.Uint32 // the domain's id, changed by SetSelf

	mu        sync.Mutex
	sessions  map[xen.DomID]*session
	budgets   map[xen.DomID]*mux.Budget
	loop      *loop    // nil until the first Dial to this domain itself
	backend   *session // of the front link, at its frontend; nil: none
	listeners map[uint32]*Listener
	lastPort  uint32

	closing context.Context // ends with Close, under mu
	close   context.CancelFunc
	loops   sync.WaitGroup
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
	if cfg.Idle == 0 {
		cfg.Idle = defaultIdle
	}
	s := &Stack{
		cfg:       cfg,
		budget:    mux.NewBudget(max(cfg.Memory, minDaemonBudget), nil),
		sessions:  make(map[xen.DomID]*session),
		budgets:   make(map[xen.DomID]*mux.Budget),
		listeners: make(map[uint32]*Listener),
		lastPort:  lastEphemeral,
	}
	s.self.Store(uint32(cfg.Self))
	s.closing, s.close = context.WithCancel(context.Background())
	return s
}

// Self is the domain whose sockets these are.
func (s *Stack) Self() xen.DomID { return xen.DomID(s.self.Load()) }

// SetSelf gives the domain another id, as it has when it was restored. It is called
// while no link is served. Listeners stay, with their new address; connections of
// the domain with itself end, for their addresses are the old ones.
func (s *Stack) SetSelf(id xen.DomID) {
	if s.Self() == id {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.self.Store(uint32(id))
	if lp := s.loop; lp != nil { // it stays until it has ended, see sessionOf
		for _, ses := range []*session{lp.dialing, lp.accepting} {
			ses.link.End(link.Lost, link.ErrResumed)
		}
	}
}

// Serve runs the connections of a link until it ends, and returns why. The link
// is not used any more then; closing it is the caller's. kind says what the other
// domain is to this one. A Stack has one link to a domain at a time, but for one
// that has ended, and none after Close (net.ErrClosed). ready, which may be nil, is
// called as soon as a Dial finds the link, and must not wait.
func (s *Stack) Serve(l *link.Link, kind Kind, ready func()) error {
	ses, err := s.add(l, kind)
	if err != nil {
		return fmt.Errorf("serve link to domain %v: %w", l.Peer(), err)
	}
	defer s.remove(ses)
	if ready != nil {
		ready()
	}
	return ses.Run()
}

// add routes l's domain to a new session.
func (s *Stack) add(l *link.Link, kind Kind) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	peer := l.Peer()
	if s.closed() {
		return nil, net.ErrClosed
	}
	if old := s.sessions[peer]; old != nil && old.link.Err() == nil {
		return nil, errTwice
	}
	ses := s.newSession(l, kind)
	s.sessions[peer] = ses
	if kind == ToBackend {
		s.backend = ses
	}
	return ses, nil
}

// remove takes a session that has ended out of the routes, unless another has its
// place already.
func (s *Stack) remove(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if peer := ses.link.Peer(); s.sessions[peer] == ses {
		delete(s.sessions, peer)
	}
	if s.backend == ses {
		s.backend = nil
	}
}

// route is the switch that every incoming REQUEST goes through (design, section
// 5, "Ports"). It runs in a link's pump and does not wait.
func (s *Stack) route(ses *session, local uint32) mux.Route {
	to, ours := s.routeHere(ses, local)
	if ours || s.cfg.Locals == nil {
		return to
	}
	if offer := s.cfg.Locals.Acceptor(local); offer != nil {
		to.Acceptor = localAcceptor{stack: s, ses: ses, offer: offer}
	}
	to.Relay = s.cfg.Locals.Relay(ses.link.Peer())
	return to
}

// routeHere is route for what no other program of the domain may have: the ports of
// Listeners, the manager's, and all of them after Close.
func (s *Stack) routeHere(ses *session, local uint32) (to mux.Route, ours bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed() {
		return mux.Route{Reason: mux.ReasonShuttingDown}, true
	}
	if l := s.listeners[local]; l != nil {
		return mux.Route{Acceptor: acceptor{l: l, ses: ses}}, true
	}
	return mux.Route{Reason: mux.ReasonRefused}, local == PortManager
}
