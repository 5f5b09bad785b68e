// Package grant gives other domains access to pages of ours and reaches pages
// that they gave to us.
//
// A Sharer grants pages of this domain (gntalloc), a Copier copies from and
// to pages granted to this domain (gntdev's GRANT_COPY), a Mapper maps such
// pages (gntdev). Open returns the kernel's; package sim has its own.
//
// Trust: version 1 grants cannot forbid the other domain to map a page that it
// was meant to copy. What another domain may hold of ours after Revoke cannot be
// seen from userspace; callers bound it (design, section 4).
package grant

import "xvsock/xen"

// Ref is a grant reference: an index into the grant table of the domain that
// grants (grant_ref_t in xen/include/public/grant_table.h).
type Ref uint32

// TableEntries is how many pages a grant table of 64 frames can grant, which is
// xl's default maximum:
//
//	64 frames * 4096 bytes / 8 bytes an entry of version 1 = 32768
//
// gntalloc's own limit, by default 1024 pages, is raised to it, so that the module
// is never the narrower of the two.
const TableEntries = 64 * xen.PageSize / 8

// Access says what the other domain may do with a page.
type Access uint8

const (
	// ReadOnly lets the other domain read the page and never write it.
	ReadOnly Access = iota
	// Writable lets the other domain also write it. The to-front ring is the
	// only user (design, section 4).
	Writable
)

// Sharer grants pages of this domain.
type Sharer interface {
	// Share allocates n zeroed pages that hold nothing else and grants each of
	// them to domain to. It returns an error that wraps ErrNoGrants when the
	// domain's limit of granted pages is reached.
	Share(to xen.DomID, n int, access Access) (Pages, error)
}

// Pages are pages of this domain, granted to one other domain.
type Pages interface {
	// Bytes is the memory of all pages, in the order of Refs. It belongs to the
	// Pages and must not be touched after Revoke. Where the other domain may
	// write, every byte of it is foreign: read once, then check.
	Bytes() []byte
	// Refs are the grant references, one a page. The caller must not change
	// them.
	Refs() []Ref
	// OnRevoke arranges that when the grant ends, by Revoke or by the death of
	// this process, the kernel first clears the byte at offset clear of Bytes
	// and then sends an event on port, which must be bound in this process.
	// (IOCTL_GNTALLOC_SET_UNMAP_NOTIFY.) It is not for a domain that may be suspended:
	// after a resume the end of the grant would close whatever port has that number
	// then.
	OnRevoke(clear int, port xen.Port) error
	// ClearOnRevoke is OnRevoke without the event. It touches no port. Of all calls of
	// the two the last one counts.
	ClearOnRevoke(clear int) error
	// Revoke ends the grant: munmap and dealloc, in that order. It does not wait
	// for the other domain, and a second call does nothing.
	Revoke() error
}

// Segment is one piece of a copy between local memory and a granted page.
type Segment struct {
	Local  []byte    // at most a page; must not be empty
	Domain xen.DomID // who granted the page
	Ref    Ref
	Offset int    // of the piece in the granted page; Offset+len(Local) <= xen.PageSize
	Write  bool   // copy Local into the page, rather than the page into Local
	Status Status // set by Copy
}

// Copier copies from and to pages that other domains granted to this one.
type Copier interface {
	// Copy executes the segments in order and sets the Status of each. It
	// returns nil only if every one of them is StatusOkay; otherwise the error
	// wraps the first Status that is not, or the errno of the call itself, and
	// local memory that was to be read into holds nothing that may be used.
	// Sixteen segments in a row that copy the same way cost one hypercall. A
	// Copier may be used by many goroutines at once; the segments belong to the
	// caller.
	Copy(segs []Segment) error
}

// Mapper maps pages that another domain granted to this one, read-only.
type Mapper interface {
	Map(from xen.DomID, refs []Ref) (Mapping, error)
}

// Mapping is foreign memory: every byte may change at any time, and after a
// restore an access raises SIGBUS.
type Mapping interface {
	// Bytes is the mapped memory. It must not be touched after Unmap.
	Bytes() []byte
	// Unmap gives the pages back. A second call does nothing.
	Unmap() error
}

// Device is all that a domain can do with grants.
type Device interface {
	Sharer
	Copier
	Mapper
}
