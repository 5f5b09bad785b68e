// Package manager is the backend: it serves the front links of all frontends
// that the toolstack has attached to this domain, knows who each of them is, and
// is the connection manager that they meet on port 1. It tells each frontend whom
// policy lets it reach or be reached by, brokers links between two of them, and
// decides about connections between a frontend and this domain itself.
//
// Who a frontend is stands in the backend's own directory, where only the
// toolstack and this domain write (design, section 6, "Identity"). What a
// frontend says of itself is input, never identity.
//
// Nothing that a frontend does is waited for without a limit, and what it may
// cost is in Budgets. A message that lies ends the link of the frontend that sent
// it as BROKEN, and concerns nobody else.
package manager

import (
	"context"
	"log/slog"
	"sync"

	"xvsock/link"
	"xvsock/manager/policy"
	"xvsock/manager/port1"
	"xvsock/vsock"
	"xvsock/xen"
)

// Config describes a Manager.
type Config struct {
	Domain *link.Domain
	Link   link.Options
	// Self is the backend's own domain, as rules see it, until SetSelf.
	Self    policy.Domain
	Budgets Budgets // of each frontend; what is 0 is as usual
	// Up is called when the link of a frontend has formed, before anything comes
	// over it, and Down after it has ended. Neither waits.
	Up, Down func(Identity, *link.Link)
	// Changed is called after who may reach whom has changed, which Allowed tells.
	// It does not wait, and does not call SetPolicy.
	Changed func()
	Log     *slog.Logger // nil: none
}

// Manager serves the frontends of one backend domain. Its methods may be called
// by many goroutines at once.
//
// Locks are taken in this order: changing, a session's, mu. So mu is not held over
// a call to the Stack or one of its connections. It is held for as long as a few
// lookups take, and at most for as long as a look at each domain, or at each link that
// a frontend lists, takes for one frontend: never for each pair of domains.
type Manager struct {
	cfg   Config
	log   *slog.Logger
	meter *policy.Meter // of connections between frontends and this domain

	// changing is held by whoever changes who is there or what is allowed. What it
	// guards together with mu is changed under both, and read under either.
	changing sync.Mutex
	set      *policy.Set // nil: deny all; guarded by changing alone

	mu        sync.Mutex
	self      policy.Domain            // and changing; this domain
	stack     *vsock.Stack             // nil before Run
	frontends map[xen.DomID]*frontend  // and changing
	subjects  map[xen.DomID]subject    // and changing
	tables    map[route]*policy.Table  // and changing; without those that allow nothing
	order     []xen.DomID              // the subjects, sorted
	carriers  map[port1.UUID]xen.DomID // see carriersOf
	pairs     map[pair]*request        // that are indicated
	revision  uint64                   // counts SetPolicy
	spoken    *policy.Set              // set if some rule of it wants lines in the log, else nil
	full      bool                     // the refusal of one more was logged
	scanned   bool                     // all devices were looked at

	again *again
	tasks sync.WaitGroup
}

var _ vsock.Guard = (*Manager)(nil)

// New returns a Manager that serves nobody yet and, until SetPolicy, allows
// nothing but what is built in. It can guard a Stack from now on.
func New(cfg Config) *Manager {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Up == nil {
		cfg.Up = func(Identity, *link.Link) {}
	}
	if cfg.Down == nil {
		cfg.Down = func(Identity, *link.Link) {}
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	if cfg.Link.Ledger == nil {
		cfg.Link.Ledger = link.NewLedger()
	}
	cfg.Link.Log = cfg.Log
	cfg.Self.Backend = true
	cfg.Budgets = cfg.Budgets.withDefaults()
	return &Manager{
		cfg: cfg, log: cfg.Log, meter: policy.NewMeter(), self: cfg.Self,
		frontends: make(map[xen.DomID]*frontend),
		subjects:  map[xen.DomID]subject{cfg.Self.ID: {domain: cfg.Self, uuid: binaryUUID(cfg.Self.UUID)}},
		tables:    make(map[route]*policy.Table),
		pairs:     make(map[pair]*request),
		again:     newAgain(),
	}
}

// SetSelf says that this domain has come back as another, as it does when it is
// restored. It is called between two calls of Run, so that there are no frontends;
// the policy stays.
func (m *Manager) SetSelf(self policy.Domain) {
	self.Backend = true
	m.changing.Lock()
	next := map[xen.DomID]subject{self.ID: m.match(self)}
	m.mu.Lock()
	m.self, m.subjects, m.scanned = self, next, false
	m.mu.Unlock()
	m.revise(next, nil, func() {})
	m.changing.Unlock()
	m.cfg.Changed()
}

// stackNow is the Stack that Run was given.
func (m *Manager) stackNow() *vsock.Stack {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stack
}

// Run serves the frontends, whose connections stack carries, until ctx ends or
// xenstore fails. All links are down when it returns, and no frontend is known any
// more; it may be called again then. The stack is of the same domain, with Backend
// set and the Manager as its Guard.
func (m *Manager) Run(ctx context.Context, stack *vsock.Stack) error {
	ctx, cancel := context.WithCancel(ctx)
	defer m.tasks.Wait()
	defer cancel()
	m.mu.Lock()
	m.stack = stack
	m.mu.Unlock()
	listener, err := stack.Listen(vsock.PortManager)
	if err != nil {
		return err
	}
	defer listener.Close()
	m.tasks.Go(func() { m.acceptPort1(ctx, listener) })
	return m.watchDevices(ctx)
}
