package manager

import (
	"context"
	"slices"
	"sync"

	"xvsock/xen"
	"xvsock/xenstore"
)

// look looks at the devices that have changed, so that what a change costs does not
// grow with the number of frontends.
//
// If one of them was detached it looks at all: others may go with it to another
// backend, and none is to be told that the others are gone. See dropOthers. Those
// went in one step of xenstore, but the news of it come one by one.
func (m *Manager) look(ctx context.Context, devices *xenstore.Watch) error {
	names, anywhere := devices.TakeChanged()
	ids, all := m.again.take()
	if anywhere || all {
		return m.scan(ctx)
	}
	ids = append(ids, domains(names)...)
	if slices.Contains(names, "") {
		moved, err := m.comeAndGone(ctx)
		if err != nil {
			return err
		}
		ids = append(ids, moved...)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	online, err := m.lookAt(ctx, ids)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(ids, func(id xen.DomID) bool { return !online[id] && m.serves(id) }) {
		return m.scan(ctx)
	}
	return nil
}

// comeAndGone lists the devices of domains that are not served, and the domains that
// are and have none. It is for a change of the directory of all devices, which each
// attach makes.
func (m *Manager) comeAndGone(ctx context.Context) (ids []xen.DomID, err error) {
	all, err := m.devices(ctx)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	there := make(map[xen.DomID]bool, len(all))
	for _, id := range all {
		if there[id] = true; m.frontends[id] == nil {
			ids = append(ids, id)
		}
	}
	for id := range m.frontends {
		if !there[id] {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// serves reports whether id is a frontend that was not detached.
func (m *Manager) serves(id xen.DomID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frontends[id]
	return f != nil && !f.detached
}

// again is the devices that are to be looked at although xenstore says nothing of
// them. It is bounded by the number of domains.
type again struct {
	asked chan struct{} // capacity 1: there is something to take

	mu  sync.Mutex
	ids map[xen.DomID]bool
	all bool
}

func newAgain() *again {
	return &again{asked: make(chan struct{}, 1), ids: make(map[xen.DomID]bool)}
}

// ask asks for a look at the device of a domain.
func (a *again) ask(id xen.DomID) {
	a.mu.Lock()
	a.ids[id] = true
	a.mu.Unlock()
	a.call()
}

// askAll asks for a look at all devices.
func (a *again) askAll() {
	a.mu.Lock()
	a.all = true
	a.mu.Unlock()
	a.call()
}

func (a *again) call() {
	select {
	case a.asked <- struct{}{}:
	default:
	}
}

// take returns what was asked for since the last call.
func (a *again) take() (ids []xen.DomID, all bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.ids {
		ids = append(ids, id)
	}
	all = a.all
	clear(a.ids)
	a.all = false
	return ids, all
}
