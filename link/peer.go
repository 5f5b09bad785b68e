package link

import (
	"xvsock/grant"
	"xvsock/ring"
	"xvsock/xen"
)

// maxSegments is what one hypercall takes (GNTDEV_COPY_BATCH in the kernel's
// drivers/xen/gntdev.c); a ring asks for no more at once.
const maxSegments = 16

// peerPages reaches the pages that the other side has granted: it turns the
// ring's areas and offsets into domain and grant reference. It implements
// ring.Copier.
type peerPages struct {
	grants grant.Copier
	domain xen.DomID
	header grant.Ref
	rx, tx []uint32 // references of the data pages that the other side owns

	// The receive side only reads and the send side only writes, so that each
	// has a batch of its own and neither waits for the other.
	reads, writes [maxSegments]grant.Segment
}

// Copy implements ring.Copier.
func (p *peerPages) Copy(segs []ring.Segment) error {
	batch := p.reads[:len(segs)]
	if segs[0].Write {
		batch = p.writes[:len(segs)]
	}
	for i, s := range segs {
		batch[i] = grant.Segment{
			Local:  s.Local,
			Domain: p.domain,
			Ref:    p.ref(s.Area, s.Offset/xen.PageSize),
			Offset: s.Offset % xen.PageSize,
			Write:  s.Write,
		}
	}
	return p.grants.Copy(batch)
}

// ref is the grant reference of a page of an area.
func (p *peerPages) ref(area ring.Area, page int) grant.Ref {
	switch area {
	case ring.AreaRx:
		return grant.Ref(p.rx[page])
	case ring.AreaTx:
		return grant.Ref(p.tx[page])
	}
	return p.header
}

// fetchHeader copies the whole header page of the other side, once, and parses
// the copy.
func (p *peerPages) fetchHeader() (ring.Static, error) {
	page := make([]byte, ring.HeaderSize)
	err := p.grants.Copy([]grant.Segment{{Local: page, Domain: p.domain, Ref: p.header}})
	if err != nil {
		return ring.Static{}, forbidden(err)
	}
	return ring.ParseStatic(page)
}
