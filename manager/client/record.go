package client

import (
	"sort"

	"xvsock/manager/policy"
	"xvsock/manager/port1"
	"xvsock/xen"
)

// record is what the manager said last about a domain. It is not changed once it is
// in use.
type record struct {
	port1.Peer
	talk *talk // in which it was told last
}

// same reports whether m speaks of the domain that r speaks of, attached anew or
// not. Two domains without a uuid are not the same, unless the attachment is.
func (r *record) same(m port1.Peer) bool {
	return r.UUID == m.UUID && (m.UUID != port1.UUID{} || r.Attachment == m.Attachment)
}

// find returns the range that port is in, or nil. It does not allocate.
func find(ranges []port1.Range, port uint32) *port1.Range {
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].Last >= port })
	if i == len(ranges) || ranges[i].First > port {
		return nil
	}
	return &ranges[i]
}

// limits are those of a range, as the Meter wants them.
func limits(r *port1.Range) policy.Limits {
	return policy.Limits{Rule: r.Rule, Conns: r.Conns, Rate: r.Rate}
}

// Allowed reports whether a peer may connect to a port of this domain, by the
// manager's word.
func (c *Client) Allowed(peer xen.DomID, port uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[peer]
	return p != nil && p.rec != nil && find(p.rec.In, port) != nil
}
