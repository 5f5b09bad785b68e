package daemon

import (
	"golang.org/x/sys/unix"

	"xvsock/grant"
	"xvsock/link"
	"xvsock/xen"
)

// limiter is a grant device whose limit of granted pages can be raised: the
// kernel's, not the simulation's.
type limiter interface {
	RaiseLimit(pages int) (int, error)
}

// raiseGrantLimit raises the limit of granted pages to what the grant table can
// hold, and says how many links fit when that may not be. The next one over it
// fails with grant.ErrNoGrants, which names the limit.
func (d *daemon) raiseGrantLimit(backend bool) {
	g, ok := d.cfg.Domain.Grants.(limiter)
	if !ok {
		return
	}
	limit, err := g.RaiseLimit(grant.TableEntries)
	if err == nil && limit >= grant.TableEntries {
		return
	}
	fit := limit // a backend grants its header alone
	if !backend {
		// A frontend grants both rings of the front link, and one to each peer.
		const ring = link.DefaultRingSize / xen.PageSize
		fit = 1 + max(0, limit-2*ring-1)/(ring+1)
	}
	d.log.Warn("the limit of granted pages stays as it is", "pages", limit, "links_that_fit", fit,
		"error", err, "fix", "load xen-gntalloc with limit=32768")
}

// systemMemory is the memory of this domain in bytes, 0 if the kernel does not
// say.
func systemMemory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}
