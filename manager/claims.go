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

// held is what else is known of a claim.
type held struct {
	// attachment is the other end's at the time the link was made, which the frontend
	// knows only from a PEER.
	attachment port1.Attachment
	with       *frontend // the other end, if this manager brokered the link; else nil
	// dropped says that the frontend does not claim it any more, but the other end
	// did when that was last looked at: it costs the other end a link still.
	dropped bool
}

// claims are the links of one frontend: as many as a HELLO can list, and those that
// were brokered since.
type claims map[claim]held

// setClaims replaces the picture of the frontend's links by what it says as its
// conversation begins. The caller holds mu.
func (f *frontend) setClaims(links []port1.Live) {
	before := f.claims
	f.claims = make(claims, len(links))
	for _, l := range links {
		at := claim{l.UUID, l.Generation}
		f.claims[at] = held{attachment: l.Attachment, with: before[at].with}
	}
}

// correctClaims is setClaims for a later HELLO. The frontend says none while a
// request of its own is not answered, so no link that was brokered meanwhile is
// forgotten. And what it leaves out counts until the other end leaves it out too:
// nobody makes room in its budget at the cost of others by denying its links. The
// caller holds mu.
func (f *frontend) correctClaims(links []port1.Live) {
	before := f.claims
	f.setClaims(links)
	for at, h := range before {
		if _, said := f.claims[at]; !said && f.heldThere(at, h) {
			h.dropped = true
			f.claims[at] = h
		}
	}
}

// heldThere reports whether the other end of a link that was brokered claims it.
func (f *frontend) heldThere(at claim, h held) bool {
	if h.with == nil || h.with.detached || f.m.frontends[h.with.id] != h.with {
		return false
	}
	there, claimed := h.with.claims[claim{f.uuid, at.generation}]
	return claimed && !there.dropped
}

// dropClaim forgets the links of a generation.
func (f *frontend) dropClaim(generation uint64) {
	maps.DeleteFunc(f.claims, func(l claim, _ held) bool { return l.generation == generation })
}

// otherEnd is the attached frontend that a claim is about, nil if there is none or
// it cannot be told: a uuid that two domains carry, or no uuid, is nobody's. The
// caller holds mu.
func (m *Manager) otherEnd(l claim, h held) *frontend {
	f := h.with
	if f == nil || f.uuid != l.uuid {
		id, there := m.carriers[l.uuid]
		if !there {
			return nil
		}
		f = m.frontends[id]
	}
	if f == nil || f.detached || m.frontends[f.id] != f {
		return nil
	}
	return f
}

// linked notes that the two of a request are about to have a link: both count as
// having said so. The caller holds mu.
func (m *Manager) linked(r *request) {
	from, to := r.initiator.f, r.responder.f
	from.noteLink(r.req.Terms.Generation, held{attachment: r.to, with: to})
	to.noteLink(r.req.Terms.Generation, held{attachment: r.from, with: from})
}

// noteLink notes a link that takes the place of any other with that domain.
func (f *frontend) noteLink(generation uint64, h held) {
	maps.DeleteFunc(f.claims, func(l claim, old held) bool { return f.m.otherEnd(l, old) == h.with })
	if f.claims == nil {
		f.claims = make(claims)
	}
	f.claims[claim{h.with.uuid, generation}] = h
}

// countLinks is how many links the frontend has, by its own word or by that of who it
// has them with. The caller holds mu.
func (f *frontend) countLinks() int {
	maps.DeleteFunc(f.claims, func(l claim, h held) bool { return h.dropped && !f.heldThere(l, h) })
	return len(f.claims)
}

// mayLink reports whether the frontend has fewer links than most, besides one to
// the same domain that a new one would replace. The caller holds mu.
func (f *frontend) mayLink(to *frontend, most int) bool {
	if len(f.claims) < most {
		return true
	}
	n := f.countLinks()
	for l, h := range f.claims {
		if f.m.otherEnd(l, h) == to {
			n--
		}
	}
	return n < most
}

// dropForbidden has the frontend told that those are gone to which it has links that
// no rule allows: they were made by the rules of an earlier time. Later than with the
// manager's HELLO there are none that it was not told of. The caller holds mu.
func (c *conversation) dropForbidden() {
	if c.hello == nil {
		return
	}
	for l, h := range c.f.claims {
		other := c.m.otherEnd(l, h)
		if other != nil && h.attachment == other.attachment && !c.m.statementOf(c.f.id, other.id).there {
			delete(c.f.claims, l)
			c.renew(other.id)
		}
	}
}

// compareClaims compares what f has said of its links, as its conversation begins,
// with what the others have said of theirs, and has whoever is alone with a link
// told that the other end is gone: it was restarted, or never had the link. What
// only one of two ends knows would else stay until somebody tries to use it. The
// caller holds mu.
func (m *Manager) compareClaims(f *frontend) {
	f.disown(nil)
	for _, other := range m.frontends {
		if other != f && other.talk != nil && other.talk.greeted {
			other.disown(f)
		}
	}
}

// disown ends the links that f has with only (nil: with anybody) and of which the
// other end, which has said HELLO, knows nothing.
func (f *frontend) disown(only *frontend) {
	for l, h := range f.claims {
		other := f.m.otherEnd(l, h)
		if h.dropped || other == nil || other == f || only != nil && other != only {
			continue
		}
		there, agreed := other.claims[claim{f.uuid, l.generation}]
		if agreed && !there.dropped || other.talk == nil || !other.talk.greeted || f.hidden(other, h) {
			continue
		}
		delete(f.claims, l)
		f.talk.renew(other.id)
	}
}
