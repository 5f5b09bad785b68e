// Package manager is the backend: it serves the front links of all frontends
// that the toolstack has attached to this domain, knows who each of them is, and
// listens on port 1, where frontends meet the connection manager.
//
// Who a frontend is stands in the backend's own directory, where only the
// toolstack and this domain write (design, section 6, "Identity"). What a
// frontend says of itself is input, never identity.
package manager

import (
	"context"
	"log/slog"
	"sync"

	"xvsock/link"
	"xvsock/vsock"
	"xvsock/xen"
)

// Config describes a Manager.
type Config struct {
	Domain *link.Domain
	Stack  *vsock.Stack // of the same domain, with Backend set
	Link   link.Options
	// Up is called when the link of a frontend has formed, before anything comes
	// over it, and Down after it has ended. Neither waits.
	Up, Down func(Identity, *link.Link)
	Log      *slog.Logger // nil: none
}

// Manager serves the frontends of one backend domain.
type Manager struct {
	cfg Config
	log *slog.Logger

	mu        sync.Mutex
	frontends map[xen.DomID]*frontend
	full      bool // the refusal of one more was logged

	rescan chan struct{} // capacity 1: look at all devices again
	tasks  sync.WaitGroup
}

// New returns a Manager that serves nobody yet.
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
	if cfg.Link.Ledger == nil {
		cfg.Link.Ledger = link.NewLedger()
	}
	cfg.Link.Log = cfg.Log
	return &Manager{
		cfg: cfg, log: cfg.Log,
		frontends: make(map[xen.DomID]*frontend),
		rescan:    make(chan struct{}, 1),
	}
}

// Run serves the frontends until ctx ends or xenstore fails. All links are down
// when it returns.
func (m *Manager) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer m.tasks.Wait()
	defer cancel()
	port1, err := m.cfg.Stack.Listen(vsock.PortManager)
	if err != nil {
		return err
	}
	defer port1.Close()
	m.tasks.Go(func() { m.acceptPort1(ctx, port1) })
	return m.watchDevices(ctx)
}
