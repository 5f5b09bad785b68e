package sim

import (
	"sync/atomic"

	"xvsock/grant"
	"xvsock/xen"
)

// Counts is how often a domain entered the kernel or Xen. A test takes it before
// and after and looks at the difference.
type Counts struct {
	Copies     uint64 // Copy calls
	Segments   uint64 // of all copies
	CopyIoctls uint64 // that grant.Kernel would make for them
	Hypercalls uint64 // that gntdev would make for those
	Notifies   uint64
	Unmasks    uint64
	Binds      uint64 // Unbound and Interdomain
}

// Minus returns the difference of two counts.
func (c Counts) Minus(before Counts) Counts {
	return Counts{
		Copies:     c.Copies - before.Copies,
		CopyIoctls: c.CopyIoctls - before.CopyIoctls,
		Segments:   c.Segments - before.Segments,
		Hypercalls: c.Hypercalls - before.Hypercalls,
		Notifies:   c.Notifies - before.Notifies,
		Unmasks:    c.Unmasks - before.Unmasks,
		Binds:      c.Binds - before.Binds,
	}
}

// counters are one domain's own words, so that counting orders no two domains.
type counters struct {
	copies, segments, ioctls, hypercalls, notifies, unmasks, binds atomic.Uint64
}

func (c *counters) copy(segs []grant.Segment) {
	c.copies.Add(1)
	c.segments.Add(uint64(len(segs)))
	for rest := segs; len(rest) > 0; {
		n, ops := 0, 0
		for n < min(batch, len(rest)) && rest[n].Write == rest[0].Write {
			ops += localPages(rest[n].Local)
			n++
		}
		rest = rest[n:]
		c.ioctls.Add(1)
		c.hypercalls.Add(uint64(ops+batch-1) / batch)
	}
}

// localPages is the number of pages that b lies in, each an operation of its own.
func localPages(b []byte) int {
	return (int(address(b)%xen.PageSize) + len(b) + xen.PageSize - 1) / xen.PageSize
}

// Counts returns how often the domain entered the kernel so far.
func (d *Domain) Counts() Counts {
	c := &d.counters
	return Counts{
		Copies:     c.copies.Load(),
		CopyIoctls: c.ioctls.Load(),
		Segments:   c.segments.Load(),
		Hypercalls: c.hypercalls.Load(),
		Notifies:   c.notifies.Load(),
		Unmasks:    c.unmasks.Load(),
		Binds:      c.binds.Load(),
	}
}
