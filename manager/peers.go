package manager

import (
	"slices"

	"xvsock/link"
	"xvsock/manager/policy"
	"xvsock/manager/port1"
	"xvsock/xen"
)

// statement is what a frontend is told of a peer; the zero value says that there
// is nothing to it.
type statement struct {
	there      bool
	uuid       port1.UUID
	attachment port1.Attachment
	name       string
	out, in    *policy.Table // nil: nothing is allowed that way
}

// equal reports whether both would be the same PEER. The tables may be of
// different sets of rules that say the same of these two domains.
func (s statement) equal(t statement) bool {
	return s.there == t.there && s.uuid == t.uuid && s.attachment == t.attachment && s.name == t.name &&
		sameTable(s.out, t.out) && sameTable(s.in, t.in)
}

func sameTable(a, b *policy.Table) bool { return a == b || a != nil && b != nil && a.Equal(b) }

// statementOf is what the frontend of id is to know of peer. The backend's own
// domain is nobody's peer: its frontends have the front link. The caller holds mu.
func (m *Manager) statementOf(id, peer xen.DomID) statement {
	self := m.self.ID
	p := m.frontends[peer]
	if p == nil || peer == self || id == self {
		return statement{}
	}
	s := statement{
		there: true, uuid: p.uuid, attachment: p.attachment, name: p.who.Name,
		out: m.tables[route{id, peer}], in: m.tables[route{peer, id}],
	}
	if s.out == nil && s.in == nil {
		return statement{}
	}
	return s
}

// record is what a conversation has said of one peer, and whether it has to speak
// again. What is said is then looked up: changes that come quicker than the
// frontend reads them are one PEER.
type record struct {
	told statement
	due  bool // the peer is in conversation.due
	gone bool // it is to be told gone first, whatever is to be said then
}

// consider has the frontend told of peer, if what it was told last is not so any
// more. The caller holds mu.
func (c *conversation) consider(peer xen.DomID) {
	r := c.records[peer]
	now := c.m.statementOf(c.f.id, peer)
	if r == nil {
		if !now.there {
			return
		}
		r = &record{}
		c.records[peer] = r
	}
	if !r.due && !now.equal(r.told) {
		c.tell(peer, r)
	}
}

// catchUp has the frontend told what is new since it fell behind. The caller holds
// mu.
func (c *conversation) catchUp() {
	if c.behind {
		c.behind = false
		c.considerAll()
		c.dropForbidden()
	}
}

// considerAll considers every domain that there is, and all that it was told of.
func (c *conversation) considerAll() {
	for _, peer := range c.m.order {
		c.consider(peer)
	}
	for peer := range c.records {
		c.consider(peer)
	}
}

// renew has the frontend told that a peer is gone, and then, if it is not, of the
// peer again: that ends a link which the peer knows nothing of.
func (c *conversation) renew(peer xen.DomID) {
	r := c.records[peer]
	if r == nil {
		r = &record{}
		c.records[peer] = r
	}
	r.gone = true
	if !r.due {
		c.tell(peer, r)
	}
}

// tell puts peer in the queue of those that the frontend is to be told of.
func (c *conversation) tell(peer xen.DomID, r *record) {
	r.due = true
	c.due = append(c.due, peer)
	c.rouse()
}

// appendDue appends the PEERs that are due to the batch, while there is room in it.
// The caller holds mu.
func (c *conversation) appendDue(batch []byte) []byte {
	n := 0
	for ; n < len(c.due) && len(batch) < batchSize; n++ {
		batch = c.appendPeer(batch, c.due[n])
	}
	c.due = slices.Delete(c.due, 0, n)
	if len(c.unacked) > maxUnacked+8*len(c.m.subjects) {
		c.link.End(link.Lost, errUnconfirmed)
	}
	return batch
}

// appendPeer appends one or two PEERs that bring the frontend's record of a peer up
// to date, or none if it is.
func (c *conversation) appendPeer(batch []byte, peer xen.DomID) []byte {
	r := c.records[peer]
	now := c.m.statementOf(c.f.id, peer)
	if r.gone || !now.there && r.told.there {
		batch = port1.Peer{ID: c.awaitConfirm(), Domain: peer, Gone: true}.Append(batch)
		r.told = statement{}
	}
	if !now.equal(r.told) {
		batch = c.message(peer, now).Append(batch)
		r.told = now
	}
	r.due, r.gone = false, false
	if !now.there {
		delete(c.records, peer)
	}
	return batch
}

// message is a statement as it goes over the wire. Its ranges are good until the
// next one.
func (c *conversation) message(peer xen.DomID, s statement) port1.Peer {
	p := port1.Peer{
		ID: c.awaitConfirm(), Domain: peer, UUID: s.uuid, Attachment: s.attachment, Name: s.name,
		Access: accessOf(s.out, s.in),
	}
	c.out, c.in = c.out[:0], c.in[:0]
	for _, way := range []struct {
		table *policy.Table
		to    *[]port1.Range
	}{{s.out, &c.out}, {s.in, &c.in}} {
		if way.table == nil {
			continue
		}
		p.Ring = max(p.Ring, uint32(way.table.Ring))
		for _, r := range way.table.Ranges {
			*way.to = append(*way.to, port1.Range{
				First: r.First, Last: r.Last, Rule: r.Rule.ID, Conns: r.Rule.Conns, Rate: r.Rule.Rate,
			})
		}
	}
	p.Out, p.In = c.out, c.in
	return p
}

// accessOf is the most that a link between two domains may use, by what is allowed
// the one way and the other.
func accessOf(tables ...*policy.Table) port1.Access {
	for _, t := range tables {
		if t != nil && t.Access == policy.AccessMap {
			return port1.AccessMap
		}
	}
	return port1.AccessCopy
}
