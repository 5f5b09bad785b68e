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
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	"xvsock/link"
	"xvsock/vsock"
	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// rescanGap is the least time between two looks at all devices. Every write to
// any of them, our own included, asks for one; so a flood of writes, or the start
// of hundreds of frontends, costs a bounded number of reads a second.
const rescanGap = 100 * time.Millisecond

// maxFrontends is how many frontends a backend outside domain 0 serves: each
// needs a watch, and xenstored's default quota is 128 for everything in a
// domain.
const maxFrontends = 100

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

	devices, err := m.cfg.Domain.Store.Watch(ctx, xenbus.BackendsPath(m.cfg.Domain.ID))
	if err != nil {
		return err
	}
	defer devices.Close()
	for {
		if err := m.scan(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(rescanGap):
		}
		select {
		case <-devices.Changed():
		case <-m.rescan:
		case <-m.cfg.Domain.Store.Done():
			return fmt.Errorf("watch frontends: %w", m.cfg.Domain.Store.Err())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// scan looks at every device that the toolstack has made for this backend, and
// starts, updates and stops frontends accordingly.
func (m *Manager) scan(ctx context.Context) error {
	entries, err := m.cfg.Domain.Store.List(ctx, xenbus.BackendsPath(m.cfg.Domain.ID))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("list frontends: %w", err)
	}
	online := make(map[xen.DomID]bool)
	for _, entry := range entries {
		id, err := xen.ParseDomID(entry)
		if err != nil {
			continue
		}
		who, err := m.identify(ctx, id)
		switch {
		case errors.Is(err, xenbus.ErrDetached):
		case err != nil:
			return err
		default:
			online[id] = true
			m.admit(ctx, who)
		}
	}
	m.dropOthers(online)
	return nil
}

// identify reads who the toolstack says the frontend is. The error wraps
// xenbus.ErrDetached if its device is not online.
func (m *Manager) identify(ctx context.Context, id xen.DomID) (Identity, error) {
	dir := xenbus.BackPath(m.cfg.Domain.ID, id)
	who := Identity{Domain: id}
	var online string
	err := m.cfg.Domain.Store.Transaction(ctx, func(tx *xenstore.Tx) (err error) {
		for _, n := range []struct {
			name string
			to   *string
		}{{"online", &online}, {"attachment", &who.Attachment}, {"uuid", &who.UUID}, {"name", &who.Name}} {
			if *n.to, err = tx.Read(ctx, dir+"/"+n.name); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) || err == nil && online != "1" {
		return who, xenbus.ErrDetached
	}
	return who, err
}

// admit starts serving a frontend, or notes what is new about it.
func (m *Manager) admit(ctx context.Context, who Identity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.frontends[who.Domain]; f != nil {
		who.Generation = f.who.Generation
		f.who = who
		return
	}
	if m.cfg.Domain.ID != 0 && len(m.frontends) >= maxFrontends {
		if !m.full {
			m.log.Error("no more frontends: a backend outside domain 0 has watches for no more (xenstored quota)",
				"limit", maxFrontends, "refused", who.Domain)
		}
		m.full = true
		return
	}
	m.full = false
	f := &frontend{m: m, who: who}
	ctx, f.detach = context.WithCancelCause(ctx)
	m.frontends[who.Domain] = f
	m.tasks.Go(func() { f.run(ctx) })
}

// dropOthers stops the frontends that are not online any more.
func (m *Manager) dropOthers(online map[xen.DomID]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, f := range m.frontends {
		if !online[id] {
			f.detach(xenbus.ErrDetached)
		}
	}
}

// forget takes a frontend that has stopped out of the picture, and looks again:
// it may have been attached anew meanwhile.
func (m *Manager) forget(id xen.DomID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.frontends, id)
	select {
	case m.rescan <- struct{}{}:
	default:
	}
}

// removeDevice removes what is left of the device of a domain that is gone. The
// toolstack gave this domain the levels above the device for that.
func (m *Manager) removeDevice(ctx context.Context, id xen.DomID) {
	err := m.cfg.Domain.Store.Remove(ctx, path.Dir(xenbus.BackPath(m.cfg.Domain.ID, id)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Warn("remove device of a domain that is gone", "domain", id, "error", err)
	}
}

// Frontend describes one frontend for status.
type Frontend struct {
	Identity
	Up bool // its front link is up
}

// Frontends lists the frontends that are attached, by domain id.
func (m *Manager) Frontends() []Frontend {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Frontend, 0, len(m.frontends))
	for _, id := range slices.Sorted(maps.Keys(m.frontends)) {
		f := m.frontends[id]
		all = append(all, Frontend{Identity: f.who, Up: f.link != nil})
	}
	return all
}

// Identity is who a frontend is, by the toolstack's word.
type Identity struct {
	Domain     xen.DomID
	Name       string // not unique
	UUID       string
	Attachment string // of this attach: another one after every attach
	Generation uint64 // of the front link that is up, else 0
}

// Identify returns the identity of the frontend with the given id.
func (m *Manager) Identify(id xen.DomID) (Identity, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frontends[id]
	if f == nil {
		return Identity{}, false
	}
	return f.who, true
}
