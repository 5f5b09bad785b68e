package manager

import (
	"maps"
	"slices"

	"xvsock/manager/policy"
	"xvsock/xen"
)

// maxTouched is how many domains a change may be about before it is about all.
const maxTouched = 16

// route is a way from one domain to another.
type route struct{ src, dst xen.DomID }

// SetPolicy makes set what is allowed; nil denies everything. It returns once
// every frontend is about to be told, and no connection between a frontend and this
// domain is left that set does not allow. The frontends confirm for themselves
// (Progress).
func (m *Manager) SetPolicy(set *policy.Set) {
	m.changing.Lock()
	m.set = set
	next := make(map[xen.DomID]subject, len(m.subjects))
	for id, s := range m.subjects {
		next[id] = m.match(s.domain)
	}
	m.revise(next, nil, func() {
		m.revision++
		m.spoken = logging(set)
	})
	m.changing.Unlock()
	m.cfg.Changed()
}

// Progress tells how many times SetPolicy was called, and how many frontends have
// not confirmed yet that they go by what is allowed now (Frontend.Confirmed).
func (m *Manager) Progress() (revision uint64, unconfirmed int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.frontends {
		if !f.confirmed() {
			unconfirmed++
		}
	}
	return m.revision, unconfirmed
}

// Domains lists this domain and then those that are attached, by id, as rules see
// them. The attached ones do not have this one again if it is its own frontend.
func (m *Manager) Domains() []policy.Domain {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := []policy.Domain{m.subjects[m.self.ID].domain}
	for _, id := range slices.Sorted(maps.Keys(m.subjects)) {
		if id != m.self.ID {
			all = append(all, m.subjects[id].domain)
		}
	}
	return all
}

// Allowed reports whether src may connect to a port of dst, by the rules or because
// it is built in for every program there. Either may be this domain.
func (m *Manager) Allowed(src, dst xen.DomID, port uint32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, from := m.subjects[src]
	_, to := m.subjects[dst]
	switch {
	case !from || !to:
		return false
	case src == dst, dst == m.self.ID && policy.BuiltinToBackend(port):
		return true
	}
	t := m.tables[route{src, dst}]
	return t != nil && t.Find(port) != nil
}

// enter changes who is there: the domain with this id is d now, nil for none any
// more. apply is called under mu in the moment in which that counts. The caller
// holds changing.
func (m *Manager) enter(id xen.DomID, d *policy.Domain, apply func()) {
	m.enterAll(map[xen.DomID]*policy.Domain{id: d}, apply)
}

// enterAll is enter for many domains in one moment.
func (m *Manager) enterAll(all map[xen.DomID]*policy.Domain, apply func()) {
	next, touched := maps.Clone(m.subjects), make(map[xen.DomID]bool, len(all))
	for id, d := range all {
		touched[id] = true
		switch {
		case id == m.self.ID: // it is what it is, also as its own frontend
		case d == nil:
			delete(next, id)
		default:
			next[id] = m.match(*d)
		}
	}
	m.pairUp(next, touched)
	m.revise(next, touched, apply)
}

// revise makes next the domains that there are, works out anew what is allowed from
// and to the touched ones (nil: all), lets the frontends know, and ends the
// connections with this domain that are not allowed any more. The caller holds
// changing.
//
// The working out needs no lock that a frontend's messages wait for. Then tables
// and domains change in one moment: a domain never has the rights of another that
// had its id before. If many are touched, all are: it costs little more out of mu,
// and what is done under it does not grow with their number.
func (m *Manager) revise(next map[xen.DomID]subject, touched map[xen.DomID]bool, apply func()) {
	if len(touched) > maxTouched {
		touched = nil
	}
	tables, order, carriers := m.tabulate(next, touched), slices.Sorted(maps.Keys(next)), carriersOf(next)
	m.mu.Lock()
	if touched == nil {
		m.tables = tables
	} else {
		for id := range touched {
			for other := range m.subjects {
				delete(m.tables, route{id, other})
				delete(m.tables, route{other, id})
			}
		}
		maps.Copy(m.tables, tables)
	}
	m.subjects, m.order, m.carriers = next, order, carriers
	apply()
	stack, review := m.stack, m.inform(touched)
	m.mu.Unlock()
	if stack == nil {
		return
	}
	for _, id := range review {
		stack.Review(id)
	}
}

// tabulate works out what is allowed from and to the touched ones (nil: all) of the
// given domains. The caller holds changing.
func (m *Manager) tabulate(subjects map[xen.DomID]subject, touched map[xen.DomID]bool) map[route]*policy.Table {
	tables := make(map[route]*policy.Table)
	if m.set == nil {
		return tables
	}
	enter := func(src, dst xen.DomID) {
		if src == dst && src != m.self.ID { // this domain may be its own frontend
			return
		}
		if t := m.set.Between(subjects[src].facts, subjects[dst].facts); len(t.Ranges) > 0 {
			tables[route{src, dst}] = t
		}
	}
	for id := range subjects {
		if touched != nil && !touched[id] {
			continue
		}
		for other := range subjects {
			enter(id, other)
			if touched != nil {
				enter(other, id)
			}
		}
	}
	return tables
}

// inform has the frontends told what is new of the touched domains (nil: all), and
// returns those whose connections with this domain must be looked at again. Where
// more than the touched ones have to be looked at, each frontend's writer does it:
// mu is not held for all of them at once. The caller holds mu.
func (m *Manager) inform(touched map[xen.DomID]bool) (review []xen.DomID) {
	all, others := touched == nil, slices.Sorted(maps.Keys(touched))
	for id, f := range m.frontends {
		if f.link != nil && (all || touched[id] || touched[m.self.ID]) {
			review = append(review, id)
		}
		if f.talk != nil && f.talk.hello != nil {
			f.talk.rouse() // it may have waited for one of them
		}
		switch {
		case f.talk == nil || !f.talk.greeted:
		case all || touched[id]:
			f.talk.behind = true
			f.talk.rouse()
		default:
			for _, other := range others {
				f.talk.consider(other)
			}
			f.talk.dropForbidden()
		}
	}
	return review
}

// Rules lists the rules in force, in their order.
func (m *Manager) Rules() []*policy.Rule {
	m.changing.Lock()
	defer m.changing.Unlock()
	if m.set == nil {
		return nil
	}
	return m.set.Rules()
}
