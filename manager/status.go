package manager

import (
	"cmp"
	"maps"
	"slices"

	"xvsock/manager/policy"
	"xvsock/xen"
)

// Frontend describes one frontend for status.
type Frontend struct {
	Identity
	Twin    bool // another domain here has its name: no name pattern matches it
	Up      bool // its front link is up
	Greeted bool // and it has said HELLO there
	// TwinUUID says that another domain here has its uuid: no uuid pattern matches it.
	TwinUUID bool

	Links []PeerLink // to other frontends, by domain and generation
	Use   Use
	// Unconfirmed is how many PEERs it has not been sent or has not confirmed.
	Unconfirmed int
	// Confirmed says that it goes by what is allowed now: it was told all, and has
	// confirmed all. A frontend whose front link is down has not, also one that was
	// never up: it may have links and records by the rules of an earlier time, or of an
	// earlier manager.
	Confirmed bool

	Denied  uint64 // requests refused by policy or for a budget
	Late    uint64 // answers that came when nobody waited any more
	Delayed uint64 // requests that had to wait for their turn
}

// PeerLink is a link between two frontends, as one of them says or as it was
// brokered.
type PeerLink struct {
	Peer       xen.DomID
	Generation uint64
}

// Use is what a frontend uses of its budgets.
type Use struct {
	Requests int // that it could send at once
	HalfOpen int
	Links    int // also those to domains that are not attached here, or that only the other end says to have
}

// Frontends lists the frontends that are attached, by domain id.
func (m *Manager) Frontends() []Frontend {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Frontend, 0, len(m.frontends))
	for _, id := range slices.Sorted(maps.Keys(m.frontends)) {
		all = append(all, m.frontends[id].status())
	}
	return all
}

// status describes the frontend. The caller holds mu.
func (f *frontend) status() Frontend {
	s := Frontend{
		Identity: f.who, Up: f.link != nil, Confirmed: f.confirmed(),
		Twin: f.m.subjects[f.id].domain.Twin, TwinUUID: f.m.subjects[f.id].domain.TwinUUID,
		Use:    Use{Requests: max(0, int(f.bucket.Tokens())), Links: f.countLinks()},
		Denied: f.denied.Load(), Late: f.late.Load(), Delayed: f.delayed.Load(),
	}
	for l, h := range f.claims {
		if with := f.m.otherEnd(l, h); with != nil && !h.dropped {
			s.Links = append(s.Links, PeerLink{Peer: with.id, Generation: l.generation})
		}
	}
	slices.SortFunc(s.Links, func(a, b PeerLink) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Generation, b.Generation))
	})
	if f.talk != nil {
		s.Greeted, s.Use.HalfOpen, s.Unconfirmed = f.talk.greeted, f.talk.halfOpen, f.talk.unconfirmed()
	}
	return s
}

// Neighbours lists the frontends with which the rules let this domain have connections,
// made there or here, by domain id. What is built in does not count.
func (m *Manager) Neighbours() []Identity {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Identity
	for _, id := range slices.Sorted(maps.Keys(m.frontends)) {
		if m.adjoins(id) {
			all = append(all, m.frontends[id].who)
		}
	}
	return all
}

// Adjoins reports whether a domain is one of the Neighbours.
func (m *Manager) Adjoins(id xen.DomID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.frontends[id] != nil && m.adjoins(id)
}

// adjoins reports whether the rules allow anything between this domain and that one. The
// caller holds mu.
func (m *Manager) adjoins(id xen.DomID) bool {
	return m.tables[route{m.self.ID, id}] != nil || m.tables[route{id, m.self.ID}] != nil
}

// Usage lists the connections between frontends and this domain that count towards
// limits of rules.
func (m *Manager) Usage() []policy.Usage { return m.meter.Usage() }

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
