package client

import (
	"encoding/hex"
	"maps"
	"slices"

	"xvsock/manager/port1"
	"xvsock/xen"
)

// Peer describes another domain, by the manager's word, and the link to it.
type Peer struct {
	Domain     xen.DomID
	Name       string // not unique
	UUID       string // as the toolstack writes it; "" if it has none
	Attachment port1.Attachment
	Out, In    []port1.Range // what may be connected to there, and from there; not to be changed
	Access     port1.Access  // the most that a link may use
	State      string        // of the link: idle, offering, accepting, up
	Generation uint64        // of the link; 0 unless it is up
	Serial     uint64        // of the link; 0 unless it is up
	Mapped     bool          // this side of the link reads the other's pages in place; false unless it is up
}

// Peers lists the domains with which anything is allowed, by domain id.
func (c *Client) Peers() []Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Peer, 0, len(c.peers))
	for _, id := range slices.Sorted(maps.Keys(c.peers)) {
		if s, ok := c.describe(id); ok {
			all = append(all, s)
		}
	}
	return all
}

// Peer returns what is known of one domain; false if nothing is allowed with it.
func (c *Client) Peer(id xen.DomID) (Peer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.describe(id)
}

// Linked reports whether there is a link to the domain that the manager's record of this
// id speaks of: not to an earlier one with the id, and not to one with which nothing is
// allowed any more. It is cheap.
func (c *Client) Linked(id xen.DomID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[id]
	return p != nil && p.admits != 0 // which goes with the record
}

// describe makes the Peer of a domain. The caller holds mu.
func (c *Client) describe(id xen.DomID) (Peer, bool) {
	p := c.peers[id]
	if p == nil || p.rec == nil {
		return Peer{}, false
	}
	s := Peer{
		Domain: id, Name: p.rec.Name, UUID: uuidText(p.rec.UUID), Attachment: p.rec.Attachment,
		Out: p.rec.Out, In: p.rec.In, Access: p.rec.Access, State: p.state.String(),
	}
	if p.link != nil {
		s.Generation, s.Serial, s.Mapped = p.link.Generation(), p.link.Serial(), p.link.Mapped()
	}
	return s, true
}

// uuidText is a uuid as RFC 9562 writes it.
func uuidText(u port1.UUID) string {
	if u == (port1.UUID{}) {
		return ""
	}
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
