// Package afvsock lets unmodified programs of the domain reach other domains through
// the kernel's own AF_VSOCK sockets: it switches packets between the kernel, at one
// vhost instance a peer, and the links.
//
// It ends no streams: connect, refusal, credit, half-close and reset are between the
// kernel's socket and whoever has the other end. So it keeps nothing of a connection,
// and what it may hold of packets is bounded: on the way to the kernel RSTs alone, on
// the way to a link REQUESTs alone, until there is one.
//
//	kernel --> Device.Receive --> local rules --> Stack.Send --> link
//	kernel <-- Device.Send <----- queue <-------- Deliver <----- link
//
// Neither way waits for the other, or two domains could wait for each other in a
// circle, as the kernel takes nothing while it has too many answers to give: the first
// way waits for room in the ring only, the second for nothing. If both kernels take
// nothing all the same, that ends after 2 s with one of the instances.
package afvsock

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"xvsock/bridge/vhost"
	"xvsock/mux"
	"xvsock/vsock"
	"xvsock/xen"
)

// Stack is what a Switch needs of a vsock.Stack, whose methods these are.
type Stack interface {
	Send(cid uint32, r mux.Relay, p mux.Packet, payload []byte) error
	Withdraw(cid uint32, r mux.Relay)
	Reach(ctx context.Context, addr vsock.Addr) error
	Peers() []vsock.Peer
}

// Device is what a Switch needs of a vhost.Instance, whose methods these are.
type Device interface {
	Receive() (vhost.Header, []byte, error)
	Send(h vhost.Header, a, b []byte) bool
	Flush()
	Room() <-chan struct{}
	Close() error
}

// Opener makes the instance of a CID, as vhost.Open does. An error that wraps
// vhost.ErrUnavailable or fs.ErrPermission says that this process can have none, any
// other that this CID cannot now.
type Opener func(cid uint32) (Device, error)

// DefaultMax is how many instances there are at most: each takes a thread of the
// kernel, some descriptors, and the memory of its queues.
const DefaultMax = 64

// maxWorkers is how many instances are opened and closed at a time. Either is system
// calls that wait for the kernel, a grace period of RCU for example.
const maxWorkers = 16

// Config describes a Switch.
type Config struct {
	Open Opener
	// Deny says to which ports the domain's programs must not connect, at any CID, its
	// own included, in addition to ports 1 and 4 (mayConnect); nil: none. It must not
	// wait.
	Deny func(port uint32) bool
	// Gone reports whether nothing at all is allowed with a domain any more, or with none
	// but another that has its id now. Connections with it then end as lost, with
	// ECONNRESET, also before SetPeers says so: a domain that was destroyed is told of
	// like one whose rules were taken away. It is called with the lock of a session held;
	// nil: a domain never is.
	Gone func(xen.DomID) bool
	Max  int          // instances; 0: DefaultMax
	Log  *slog.Logger // nil: none
}

// Peer is a CID at which programs of this domain find a domain: vsock.CIDOf it,
// vsock.CIDBackend or vsock.CIDSelf. A domain may have several. What comes from the
// domain goes to the instance of vsock.CIDSelf, else of vsock.CIDOf; those of
// vsock.CIDBackend are for connections from here alone.
type Peer struct {
	CID    uint32
	Domain xen.DomID
}

// Switch is all instances of a domain. Its methods may be called by many goroutines
// at once.
type Switch struct {
	cfg      Config
	incoming atomic.Pointer[map[xen.DomID]*instance] // replaced as a whole
	wake     chan struct{}                           // capacity 1: something is to be done
	turns    chan struct{}                           // a value for each worker that works
	workers  sync.WaitGroup
	once     sync.Once // describe

	// mu is never held over a call to a device or the Stack, nor taken by what a
	// session or its pump calls.
	mu       sync.Mutex
	stack    Stack // nil before Run
	peers    []Peer
	slots    map[uint32]*slot // by CID
	leftOut  []uint32
	forgot   bool      // peers are those of before Forget
	off      error     // why there are no instances; nil: there may be
	lookAt   time.Time // while off: when one is tried again
	stopping bool
}

// New returns a Switch that does nothing before Run.
func New(cfg Config) *Switch {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Max == 0 {
		cfg.Max = DefaultMax
	}
	if cfg.Deny == nil {
		cfg.Deny = func(uint32) bool { return false }
	}
	if cfg.Gone == nil {
		cfg.Gone = func(xen.DomID) bool { return false }
	}
	s := &Switch{
		cfg:   cfg,
		wake:  make(chan struct{}, 1),
		turns: make(chan struct{}, maxWorkers),
		slots: make(map[uint32]*slot),
	}
	s.incoming.Store(new(map[xen.DomID]*instance))
	return s
}

// SetPeers says whom this domain may have to do with, all of them, and in which
// order they get instances if not all can. It does not wait, and is cheap if nothing
// has changed.
//
// The instance of a peer that is not named any more is closed when its connections
// are over, which is for the Stack's Guard to see to, and 10 s later at the latest.
func (s *Switch) SetPeers(peers []Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off == nil && !s.forgot && slices.Equal(s.peers, peers) {
		return
	}
	s.lookAt = time.Time{} // while off: look now
	s.peers, s.forgot = slices.Clone(peers), false
	s.publish()
	s.poke()
}

// Forget has Relay return nil until SetPeers is called: the ids of before mean other
// domains now.
func (s *Switch) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgot = true
	s.publish()
}

// Relay returns the kernel's sockets as peer sees them, or nil if there are none. It
// implements that method of vsock.Locals: it takes no lock.
func (s *Switch) Relay(peer xen.DomID) mux.Relay {
	if i := (*s.incoming.Load())[peer]; i != nil {
		return i
	}
	return nil
}

// Run opens and closes instances until ctx ends, then closes all. It is called once.
func (s *Switch) Run(ctx context.Context, stack Stack) {
	s.mu.Lock()
	s.stack = stack
	s.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	done := ctx.Done()
	for {
		next, over := s.step(time.Now())
		if over {
			s.workers.Wait()
			return
		}
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case <-s.wake:
		case <-timer.C:
		case <-done:
			done = nil
			s.mu.Lock()
			s.stopping = true
			s.mu.Unlock()
		}
	}
}

// poke has Run look what is to be done. It does not wait.
func (s *Switch) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
