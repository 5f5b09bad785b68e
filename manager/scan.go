package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"xvsock/link"
	"xvsock/manager/policy"
	"xvsock/xen"
	"xvsock/xenbus"
)

// rescanGap is the least time between two looks at devices. Every write to any of
// them, our own included, asks for one; so a flood of writes costs a bounded number
// of reads a second, and the start of hundreds of frontends a few for each. A
// frontend's own directory is not below what is watched here.
const rescanGap = 100 * time.Millisecond

// maxFrontends is how many frontends a backend outside domain 0 serves: each
// needs a watch, and xenstored's default quota is 128 for everything in a
// domain.
const maxFrontends = 100

// watchDevices keeps the frontends equal to the devices that the toolstack has
// made for this backend, until ctx ends or xenstore fails.
func (m *Manager) watchDevices(ctx context.Context) error {
	store := m.cfg.Domain.Store
	devices, err := store.WatchBelow(ctx, xenbus.BackendsPath(m.cfg.Domain.ID()))
	if err != nil {
		return fmt.Errorf("watch frontends: %w", err)
	}
	defer devices.Close()
	for {
		if err := m.look(ctx, devices); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(rescanGap):
		}
		select {
		case <-devices.Changed():
		case <-m.again.asked:
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
	ids, err := m.devices(ctx)
	if err != nil {
		return err
	}
	online, err := m.lookAt(ctx, ids)
	if err != nil {
		return err
	}
	m.dropOthers(online)
	m.noteScan()
	return nil
}

// devices lists whose devices there are.
func (m *Manager) devices(ctx context.Context) ([]xen.DomID, error) {
	entries, err := m.cfg.Domain.Store.List(ctx, xenbus.BackendsPath(m.cfg.Domain.ID()))
	if err != nil && !missing(err) {
		return nil, fmt.Errorf("list frontends: %w", err)
	}
	return domains(entries), nil
}

// domains is the ids among names; nodes with other names are nobody's device.
func domains(names []string) (ids []xen.DomID) {
	for _, name := range names {
		if id, err := xen.ParseDomID(name); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// lookAt looks at the devices of these domains: it starts and updates frontends, and
// returns which are attached. It stops none.
func (m *Manager) lookAt(ctx context.Context, ids []xen.DomID) (online map[xen.DomID]bool, err error) {
	online = make(map[xen.DomID]bool)
	for _, id := range ids {
		who, err := m.identify(ctx, id)
		switch {
		case errors.Is(err, xenbus.ErrDetached):
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case m.cfg.Domain.Store.Err() != nil:
			return nil, fmt.Errorf("identify frontend %v: %w", id, err)
		case err != nil:
			// One device that cannot be read is no reason to leave the others.
			m.log.Warn("identify frontend", "domain", id, "error", err)
			online[id] = true
			m.again.ask(id)
		default:
			online[id] = true
			m.admit(ctx, who)
		}
	}
	return online, nil
}

// noteScan lets the frontends know of the first scan that everybody was looked at.
func (m *Manager) noteScan() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.scanned {
		return
	}
	m.scanned = true
	for _, f := range m.frontends {
		if f.talk != nil {
			f.talk.rouse()
		}
	}
}

// admit starts serving a frontend, or notes what is new about it.
func (m *Manager) admit(ctx context.Context, who Identity) {
	m.changing.Lock()
	f, news := m.newsOf(who)
	if !news {
		m.changing.Unlock()
		return
	}
	subject := who.domain()
	if f != nil {
		m.enter(who.Domain, &subject, func() { f.update(who) })
	} else {
		f = newFrontend(m, who)
		ctx, f.detach = context.WithCancelCause(ctx)
		m.enter(who.Domain, &subject, func() { m.frontends[who.Domain] = f })
		m.tasks.Go(func() { f.run(ctx) })
	}
	m.changing.Unlock()
	m.cfg.Changed()
}

// newsOf returns the frontend with who's id, nil if there is none yet, and whether
// it is to become who. One that was detached ends first, and one too many is
// refused. The caller holds changing.
func (m *Manager) newsOf(who Identity) (f *frontend, news bool) {
	say := false
	defer func() {
		if say { // without mu, which everybody's messages wait for
			m.log.Error("no more frontends: a backend outside domain 0 has watches for no more (xenstored quota)",
				"limit", maxFrontends, "refused", who.Domain)
		}
	}()
	m.mu.Lock()
	defer m.mu.Unlock()
	if f = m.frontends[who.Domain]; f != nil {
		return f, !f.detached && f.who.Attachment != who.Attachment
	}
	if m.cfg.Domain.ID() != 0 && len(m.frontends) >= maxFrontends {
		say, m.full = !m.full, true
		return nil, false
	}
	m.full = false
	return nil, true
}

// update notes a new attachment. The link stays, unless the domain is called
// otherwise now: whoever saw it come under the old name shall see it go. The caller
// holds mu.
func (f *frontend) update(who Identity) {
	renamed := who.Name != f.who.Name || who.UUID != f.who.UUID
	f.identify(who)
	if renamed && f.link != nil {
		f.link.End(link.Lost, errRenamed)
	}
}

// dropOthers stops the frontends that are not online any more. From then on they
// have no rights, and are told nothing more: those that the toolstack moves to
// another backend together keep their links to each other (design, section 6), so
// none of them is to hear from here that the others are gone.
func (m *Manager) dropOthers(online map[xen.DomID]bool) {
	m.changing.Lock()
	var gone []*frontend
	for id, f := range m.frontends { // changing suffices to read
		if !online[id] && !f.detached {
			gone = append(gone, f)
		}
	}
	if len(gone) > 0 {
		m.dismiss(gone)
	}
	m.changing.Unlock()
	if len(gone) > 0 {
		m.cfg.Changed()
	}
}

// dismiss detaches frontends, all of them before anybody is told. The caller holds
// changing.
func (m *Manager) dismiss(gone []*frontend) {
	nobody := make(map[xen.DomID]*policy.Domain, len(gone))
	for _, f := range gone {
		nobody[f.id] = nil
	}
	m.enterAll(nobody, func() {
		for _, f := range gone {
			f.detached = true
			if f.talk != nil {
				f.talk.leave()
			}
		}
	})
	for _, f := range gone {
		f.detach(xenbus.ErrDetached)
	}
}

// forget takes a frontend that has stopped out of the picture, and looks again:
// it may have been attached anew meanwhile, and others may have waited for its place.
func (m *Manager) forget(f *frontend) {
	m.changing.Lock()
	var full bool
	m.enter(f.id, nil, func() { delete(m.frontends, f.id); full = m.full })
	m.changing.Unlock()
	m.cfg.Changed()
	if full {
		m.again.askAll()
	} else {
		m.again.ask(f.id)
	}
}
