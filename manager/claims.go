package manager

import (
	"maps"

	"xvsock/manager/port1"
)

// claim is a link that a frontend says it has: to whom, and which.
type claim struct {
	uuid       port1.UUID
	generation uint64
}

// claims are the links of one frontend: as many as a HELLO can list, and those that
// were brokered since.
type claims map[claim]struct{}

// setClaims replaces the picture of the frontend's links by what it says. It says
// nothing while a request of its own is not answered, so no link that was brokered
// meanwhile is forgotten. The caller holds mu.
func (f *frontend) setClaims(links []port1.Live) {
	f.claims = make(claims, len(links))
	for _, l := range links {
		f.claims[claim{l.UUID, l.Generation}] = struct{}{}
	}
}

// dropClaim forgets the links of a generation.
func (f *frontend) dropClaim(generation uint64) {
	maps.DeleteFunc(f.claims, func(l claim, _ struct{}) bool { return l.generation == generation })
}

// linked notes that the two of a request are about to have a link: both count as
// having said so. The caller holds mu.
func (m *Manager) linked(r *request) {
	from, to := r.initiator.f, r.responder.f
	from.noteLink(claim{to.uuid, r.req.Terms.Generation})
	to.noteLink(claim{from.uuid, r.req.Terms.Generation})
}

// noteLink notes a link that takes the place of any other with that domain.
func (f *frontend) noteLink(l claim) {
	maps.DeleteFunc(f.claims, func(old claim, _ struct{}) bool { return old.uuid == l.uuid })
	f.claims[l] = struct{}{}
}

// mayLink reports whether the frontend has fewer links than most, besides one to
// the same domain that a new one would replace.
func (f *frontend) mayLink(to port1.UUID, most int) bool {
	n := len(f.claims)
	if n < most {
		return true
	}
	for l := range f.claims {
		if l.uuid == to {
			n--
		}
	}
	return n < most
}

// compareClaims compares what f has said of its links, as its conversation begins,
// with what the others have said of theirs, and has whoever is alone with a link
// told that the other end is gone: it was restarted, or never had the link. What
// only one of two ends knows would else stay until somebody tries to use it. The
// caller holds mu.
func (m *Manager) compareClaims(f *frontend) {
	for _, other := range m.frontends {
		if other != f && other.talk != nil && other.talk.greeted {
			f.disown(other)
			other.disown(f)
		}
	}
}

// disown ends the links that f has with other and other knows nothing of.
func (f *frontend) disown(other *frontend) {
	for l := range f.claims {
		if l.uuid != other.uuid {
			continue
		}
		if _, agreed := other.claims[claim{f.uuid, l.generation}]; !agreed {
			delete(f.claims, l)
			f.talk.renew(other.id)
		}
	}
}

// complete reports whether the manager's HELLO may say that all peers were named.
// The frontend gives up the links to those that were not. After the manager was
// started, and while the toolstack moves everybody to it from another, there are
// some that it does not know yet: it waits until it has looked at all devices once,
// and until every domain to which the frontend has a link is attached here too, but
// not for ever. The caller holds mu.
func (c *conversation) complete() bool {
	if !c.m.scanned {
		return false
	}
	if c.late {
		return true
	}
	for l := range c.f.claims {
		if !c.m.knows(l.uuid) {
			return false
		}
	}
	return true
}

// knows reports whether a domain with that uuid is attached. The caller holds mu.
func (m *Manager) knows(uuid port1.UUID) bool {
	for _, f := range m.frontends {
		if f.uuid == uuid && !f.detached {
			return true
		}
	}
	return false
}

// giveUpGathering ends the wait for peers that are not attached.
func (c *conversation) giveUpGathering() {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.late = true
	c.rouse()
}
