package manager

import (
	"cmp"
	"maps"
	"slices"

	"xvsock/manager/policy"
	"xvsock/manager/port1"
	"xvsock/xen"
)

// Frontend describes one frontend for status.
type Frontend struct {
	Identity
	Twin    bool // another domain here has its name: no name pattern matches it
	Up      bool // its front link is up
	Greeted bool // and it has said HELLO there

	Links []PeerLink // to other frontends, by domain and generation
	Use   Use
	// Unconfirmed is how many PEERs it has not been sent or has not confirmed.
	Unconfirmed int

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
	Links    int // also those to domains that are not attached here
}

// Frontends lists the frontends that are attached, by domain id.
func (m *Manager) Frontends() []Frontend {
	m.mu.Lock()
	defer m.mu.Unlock()
	byUUID := make(map[port1.UUID]xen.DomID, len(m.frontends))
	for id, f := range m.frontends {
		byUUID[f.uuid] = id
	}
	all := make([]Frontend, 0, len(m.frontends))
	for _, id := range slices.Sorted(maps.Keys(m.frontends)) {
		all = append(all, m.frontends[id].status(byUUID))
	}
	return all
}

// status describes the frontend. The caller holds mu.
func (f *frontend) status(byUUID map[port1.UUID]xen.DomID) Frontend {
	s := Frontend{
		Identity: f.who, Twin: f.m.subjects[f.id].domain.Twin, Up: f.link != nil,
		Use:    Use{Requests: max(0, int(f.bucket.Tokens())), Links: len(f.claims)},
		Denied: f.denied.Load(), Late: f.late.Load(), Delayed: f.delayed.Load(),
	}
	for l := range f.claims {
		if id, there := byUUID[l.uuid]; there {
			s.Links = append(s.Links, PeerLink{Peer: id, Generation: l.generation})
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
