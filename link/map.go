package link

import "xvsock/grant"

// Access is how a side of a link gets at what the other side owns. It is each side's
// own business, for both only ever read; that both must agree on more than copying is
// because a mapping pins the owner's pages.
type Access uint8

const (
	// AccessCopy: by grant copy alone.
	AccessCopy Access = iota
	// AccessMap: the header page and the ring of the other side are mapped, read-only,
	// for the life of the link.
	AccessMap
)

// String returns the access as rules say it.
func (a Access) String() string {
	if a == AccessMap {
		return "map"
	}
	return "copy"
}

// Access is how this side reads. A side that could not map copies, whatever was agreed.
func (l *Link) Access() Access {
	if l.theirs == nil {
		return AccessCopy
	}
	return AccessMap
}

// Mapped reports whether what Peek shows lies in mapped memory: that may change while
// it is read, and an access to it may fault (Fault).
func (l *Link) Mapped() bool { return l.theirs != nil }

// Unmapped is why this side copies although both sides had agreed to map; nil: they had
// not, or it maps.
func (o *Offer) Unmapped() error { return o.unmapped }

// takeUp maps what the other side owns if both sides agree to that. A side that cannot
// copies: a copy needs nobody's consent, and its status tells a lie from an end, which
// an mmap that fails does not.
func (o *Offer) takeUp(pages *peerPages, theirs Access) *mapped {
	if o.access = min(o.access, theirs); o.access != AccessMap {
		return nil
	}
	m, err := o.holds.mapped(pages)
	if err != nil {
		o.access, o.unmapped = AccessCopy, err
		return nil
	}
	return m
}

// grantRefs are a header's references as package grant wants them.
func grantRefs(in []uint32) []grant.Ref {
	out := make([]grant.Ref, len(in))
	for i, r := range in {
		out[i] = grant.Ref(r)
	}
	return out
}
