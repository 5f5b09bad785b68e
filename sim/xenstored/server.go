// Package xenstored is xenstored in memory: it speaks the wire protocol, and
// behaves as the C xenstored of Xen 4.17 does, seen through the connection that
// a Linux kernel gives to the programs of its domain.
//
// It has what the protocol promises (permissions, watches, transactions, the
// quotas of unprivileged domains, the removal of a destroyed domain's nodes) and
// the observable habits that a client may come to lean on: which errno, which
// events, what conflicts with what. Three things it leaves out: the limit on a
// domain's writes a second, the share of a request in the events that it caused,
// and the requests that only a toolstack's C library sends (INTRODUCE, RELEASE,
// SET_TARGET, CONTROL), for which there are methods.
//
// There are no goroutines. A Write to a connection carries requests out before
// it returns. All waiting is on channels, so it works inside a testing/synctest
// bubble.
package xenstored

import (
	"io"
	"sync"
	"sync/atomic"

	"xvsock/xen"
	"xvsock/xenstore"
)

// Server is a xenstored. Domain 0 is introduced from the start.
type Server struct {
	hook atomic.Pointer[Hook]

	mu          sync.Mutex // guards all below, and all that hangs from it
	nodes       map[string]*node
	generation  uint64 // of the last change
	domains     map[xen.DomID]*domain
	connections []*connection // in the order in which they were made
	special     map[string][]permission
	closed      bool
}

// Hook is called before each request, with the path as the client wrote it, or
// "". Its error is the answer instead: the syscall.Errno in it, or else EINVAL.
// It may block, which blocks that connection alone, and it may call the Server.
type Hook func(dom xen.DomID, op xenstore.Op, path string) error

// domain is a domain that Xen knows of.
type domain struct {
	id           xen.DomID
	introduced   bool
	nodes        int // that it owns
	watches      int
	transactions int
	resumed      chan struct{} // not nil while suspended; closed on resume
}

// privileged reports whether permissions and quotas do not apply to d.
func (d *domain) privileged() bool { return d.id == 0 }

// path is d's directory.
func (d *domain) path() string { return "/local/domain/" + d.id.String() }

// New makes a server with an almost empty store: "/tool/xenstored", as the real
// one makes it. "/local/domain" and below are the toolstack's to make.
func New() *Server {
	dom0 := []permission{{Permission: xenstore.Permission{Domain: 0}}}
	s := &Server{
		nodes: map[string]*node{
			"/":               {permissions: dom0, children: []string{"tool"}},
			"/tool":           {permissions: dom0, children: []string{"xenstored"}},
			"/tool/xenstored": {permissions: dom0},
		},
		domains: map[xen.DomID]*domain{0: {introduced: true, nodes: 3}},
		special: map[string][]permission{introduceDomain: dom0, releaseDomain: dom0},
	}
	return s
}

// OnRequest sets the hook, or removes it if hook is nil. Requests under way are
// not affected.
func (s *Server) OnRequest(hook Hook) {
	if hook == nil {
		s.hook.Store(nil)
		return
	}
	s.hook.Store(&hook)
}

// Create says that Xen has domain dom: from now on it may own nodes and stand in
// permissions. Xen knows a domain some time before the toolstack introduces it.
func (s *Server) Create(dom xen.DomID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.create(dom)
}

func (s *Server) create(dom xen.DomID) *domain {
	d := s.domains[dom]
	if d == nil {
		d = &domain{id: dom}
		s.domains[dom] = d
	}
	return d
}

// Introduce makes domain dom known, if Create has not, and lets it connect. It
// fires @introduceDomain.
func (s *Server) Introduce(dom xen.DomID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.create(dom)
	if d.introduced {
		return
	}
	d.introduced = true
	s.fireSpecial(introduceDomain)
}

// Release is the destruction of domain dom. Its connections end; every node that
// it owns is removed, wherever it is, with all below; permissions that name it
// are void, so that a later domain of the same id has none of them. Then it
// fires @releaseDomain.
func (s *Server) Release(dom xen.DomID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.domains[dom]
	if d == nil || d.privileged() {
		return
	}
	s.disconnect(d)
	s.removeOwned(dom)
	s.voidPermissions(dom)
	delete(s.domains, dom)
	if d.introduced {
		s.fireSpecial(releaseDomain)
	}
}

// Shutdown is a domain's shutdown or crash without its destruction: nothing
// happens but that @releaseDomain fires.
func (s *Server) Shutdown(dom xen.DomID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.domains[dom]; d != nil && d.introduced {
		s.fireSpecial(releaseDomain)
	}
}

// Suspend holds the requests of domain dom's connections until Resume.
func (s *Server) Suspend(dom xen.DomID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.domains[dom]; d != nil && d.resumed == nil {
		d.resumed = make(chan struct{})
	}
}

// Resume lets domain dom, which need not have been suspended, go on as domain as:
// the same one, or another that was introduced meanwhile, as after a restore.
// Its connections move there. What the guest's kernel does then is done: every
// watch is set anew and so fires, relative paths are below the new directory,
// transactions are void: their commit gives EAGAIN, other requests with their id
// ENOENT.
func (s *Server) Resume(dom, as xen.DomID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to := s.domains[dom], s.domains[as]
	if from == nil || to == nil {
		return
	}
	for _, c := range s.connections {
		if c.domain == from {
			c.resume(to)
		}
	}
	if from.resumed != nil {
		close(from.resumed)
		from.resumed = nil
	}
}

// Disconnect ends all connections of domain dom from this side, as the death of
// xenstored does for those by socket. The domain may connect again.
func (s *Server) Disconnect(dom xen.DomID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.domains[dom]; d != nil {
		s.disconnect(d)
	}
}

// Connect makes a new connection of domain dom. One goroutine may read it while
// one writes it. Once the server has ended it, a read gives io.EOF and a write
// io.ErrClosedPipe; so it is from the start if dom is not introduced.
func (s *Server) Connect(dom xen.DomID) io.ReadWriteCloser {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := newConnection(s)
	d := s.domains[dom]
	if d == nil || !d.introduced || s.closed {
		c.end()
		return c
	}
	c.domain = d
	s.connections = append(s.connections, c)
	return c
}

// Close ends all connections, for good.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, d := range s.domains {
		s.disconnect(d)
	}
	return nil
}

// Usage is what a domain has in the store.
type Usage struct {
	Nodes        int // that it owns
	Watches      int
	Transactions int // that are open
	Connections  int
}

// Usage counts what domain dom has.
func (s *Server) Usage(dom xen.DomID) Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.domains[dom]
	if d == nil {
		return Usage{}
	}
	u := Usage{Nodes: d.nodes, Watches: d.watches, Transactions: d.transactions}
	for _, c := range s.connections {
		if c.domain == d {
			u.Connections++
		}
	}
	return u
}
