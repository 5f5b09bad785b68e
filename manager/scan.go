package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"xvsock/link"
	"xvsock/xen"
	"xvsock/xenbus"
)

// rescanGap is the least time between two looks at all devices. Every write to
// any of them, our own included, asks for one; so a flood of writes, or the start
// of hundreds of frontends, costs a bounded number of reads a second. A frontend's
// own directory is not below what is watched here.
const rescanGap = 100 * time.Millisecond

// maxFrontends is how many frontends a backend outside domain 0 serves: each
// needs a watch, and xenstored's default quota is 128 for everything in a
// domain.
const maxFrontends = 100

// watchDevices keeps the frontends equal to the devices that the toolstack has
// made for this backend, until ctx ends or xenstore fails.
func (m *Manager) watchDevices(ctx context.Context) error {
	store := m.cfg.Domain.Store
	devices, err := store.Watch(ctx, xenbus.BackendsPath(m.cfg.Domain.ID))
	if err != nil {
		return fmt.Errorf("watch frontends: %w", err)
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
		case <-store.Done():
			return fmt.Errorf("watch frontends: %w", store.Err())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// scan looks at every device that the toolstack has made for this backend, and
// starts, updates and stops frontends accordingly.
func (m *Manager) scan(ctx context.Context) error {
	entries, err := m.cfg.Domain.Store.List(ctx, xenbus.BackendsPath(m.cfg.Domain.ID))
	if err != nil && !missing(err) {
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
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case m.cfg.Domain.Store.Err() != nil:
			return fmt.Errorf("identify frontend %v: %w", id, err)
		case err != nil:
			// One device that cannot be read is no reason to leave the others.
			m.log.Warn("identify frontend", "domain", id, "error", err)
			online[id] = true
			m.lookAgain()
		default:
			online[id] = true
			m.admit(ctx, who)
		}
	}
	m.dropOthers(online)
	return nil
}

// lookAgain asks for another scan.
func (m *Manager) lookAgain() {
	select {
	case m.rescan <- struct{}{}:
	default:
	}
}

// admit starts serving a frontend, or notes what is new about it.
func (m *Manager) admit(ctx context.Context, who Identity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.frontends[who.Domain]; f != nil {
		f.update(who)
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
	f := &frontend{m: m, id: who.Domain, who: who}
	ctx, f.detach = context.WithCancelCause(ctx)
	m.frontends[who.Domain] = f
	m.tasks.Go(func() { f.run(ctx) })
}

// update notes a new attachment. The link stays, unless the domain is called
// otherwise now: whoever saw it come under the old name shall see it go.
func (f *frontend) update(who Identity) {
	renamed := who.Name != f.who.Name || who.UUID != f.who.UUID
	who.Serial = f.who.Serial
	f.who = who
	if renamed && f.link != nil {
		f.link.End(link.Lost, errRenamed)
	}
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
	m.lookAgain()
}
