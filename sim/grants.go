package sim

import (
	"fmt"
	"os"
	"syscall"

	"xvsock/grant"
	"xvsock/xen"
)

// What Linux and Xen do with a guest's grant table (version 1).
const (
	firstRef        = 8   // the first eight references are Xen's own (GNTTAB_NR_RESERVED_ENTRIES)
	entriesPerFrame = 512 // entries of 8 bytes in a page
	maxFrames       = 64  // gnttab_max_frames of Xen
	// DefaultGrantLimit is gntalloc's "limit": pages of all processes together.
	DefaultGrantLimit = 1024
)

// page is one granted page.
//
//	granted --Revoke, not mapped--> free
//	granted --Revoke, mapped--> stuck --last Unmap--> free
//	granted, stuck --domain destroyed or suspended--> in a husk until nobody maps any page of it
//
// A stuck page stays granted to the domain that maps it: Linux clears the table
// entry only when nobody uses it (gnttab_try_end_foreign_access_ref), so that
// domain can go on copying too.
type page struct {
	mem      []byte
	block    *pages // the Share it is of, and
	index    int    // which page of it
	owner    *Domain
	ref      grant.Ref
	to       xen.DomID
	writable bool
	pins     int // mappings that hold it
	stuck    bool
	husk     *husk
}

// table is a domain's grant table together with what its kernel keeps of it.
type table struct {
	entries map[grant.Ref]*page
	free    []grant.Ref // given back, last in first out as in Linux
	next    grant.Ref   // the first reference never used
	limit   int
	charged int // pages that count to the limit; stuck ones do not
	stuck   int
}

// size is the number of entries that the table has grown to. Xen tells a
// reference beyond it (bad reference) from an unused one (general error).
func (t *table) size() int {
	frames := (int(t.next) + entriesPerFrame - 1) / entriesPerFrame
	return max(frames, 1) * entriesPerFrame
}

// take returns n unused references, or nil if the table is full.
func (t *table) take(n int) []grant.Ref {
	if n > len(t.free)+maxFrames*entriesPerFrame-int(t.next) {
		return nil
	}
	refs := make([]grant.Ref, n)
	for i := range refs {
		if last := len(t.free) - 1; last >= 0 {
			refs[i], t.free = t.free[last], t.free[:last]
			continue
		}
		refs[i] = t.next
		t.next++
	}
	return refs
}

// release takes the entry of p out of the table. Its reference may be used again.
func (t *table) release(p *page) {
	delete(t.entries, p.ref)
	t.free = append(t.free, p.ref)
	if p.stuck {
		p.stuck = false
		t.stuck--
	}
}

// husk is what is left of a destroyed domain while others map its pages.
type husk struct {
	id     xen.DomID
	size   int
	pages  map[grant.Ref]*page // all that were granted when it died
	pinned int                 // those of them that others still map
}

// lookup finds the page that domain from granted to domain me under ref, as a
// copy or a map does it. The caller holds mu.
func (h *Host) lookup(me, from xen.DomID, ref grant.Ref, write bool) (*page, grant.Status) {
	var p *page
	size := 0
	d, dying := h.domains[from], h.husks[from]
	switch {
	case d != nil:
		p, size = d.table.entries[ref], d.table.size()
	case dying != nil:
		p, size = dying.pages[ref], dying.size
	default:
		return nil, grant.StatusBadDomain
	}
	switch {
	case uint64(ref) >= uint64(size):
		return nil, grant.StatusBadRef
	case p == nil, p.to != me, write && !p.writable:
		return nil, grant.StatusGeneralError
	case d == nil && p.pins > 0:
		return nil, grant.StatusBadDomain // seen so on Xen 4.17, though other pages say bad page
	case d == nil:
		return nil, grant.StatusBadPage
	}
	return p, grant.StatusOkay
}

// unpin ends one mapping's hold on p. The caller holds mu for writing.
func (h *Host) unpin(p *page) {
	p.pins--
	switch {
	case p.pins > 0:
	case p.husk != nil:
		p.husk.pinned--
		if p.husk.pinned == 0 {
			delete(h.husks, p.husk.id)
		}
	case p.stuck:
		p.owner.table.release(p)
		if !p.block.proc.dead { // the goroutines of one that was killed may still be at it
			h.poison(p)
		}
	}
}

// pages implements grant.Pages.
type pages struct {
	proc    *Process
	mem     []byte
	refs    []grant.Ref
	list    []*page
	access  grant.Access
	creator stack

	clears bool  // OnRevoke or ClearOnRevoke asked for
	clear  int   // this byte to be cleared,
	notify *port // and for an event from this port, unless nil
	void   bool  // granted before a restore
	done   bool
}

// Share implements grant.Sharer.
func (g *Grants) Share(to xen.DomID, n int, access grant.Access) (grant.Pages, error) {
	p := g.proc
	if err := p.enter(&Call{Op: OpShare, Peer: to, Pages: n}); err != nil {
		return nil, fmt.Errorf("grant %d pages to domain %d: %w", n, to, err)
	}
	h := p.dom.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.dead {
		return nil, ErrDead
	}
	if !to.Valid() {
		return nil, h.notDomain("grant", to)
	}
	if n <= 0 {
		return nil, fmt.Errorf("grant %d pages to domain %d: %w", n, to, syscall.EINVAL)
	}
	t := &p.dom.table
	if t.charged+n > t.limit {
		return nil, fmt.Errorf("grant %d pages to domain %d: %d of %d granted: %w", n, to, t.charged, t.limit, grant.ErrNoGrants)
	}
	refs := t.take(n)
	if refs == nil {
		return nil, fmt.Errorf("grant %d pages to domain %d: table full: %w", n, to, grant.ErrNoGrants)
	}
	b := &pages{proc: p, mem: make([]byte, n*xen.PageSize), refs: refs, access: access, creator: caller()}
	for i, ref := range refs {
		mem := b.mem[i*xen.PageSize : (i+1)*xen.PageSize : (i+1)*xen.PageSize]
		pg := &page{mem: mem, block: b, index: i, owner: p.dom, ref: ref, to: to, writable: access == grant.Writable}
		b.list = append(b.list, pg)
		t.entries[ref] = pg
	}
	t.charged += n
	p.pages[b] = struct{}{}
	return b, nil
}

// Bytes implements grant.Pages. After Revoke it is nil.
func (b *pages) Bytes() []byte {
	h := b.proc.dom.host
	h.mu.RLock()
	defer h.mu.RUnlock()
	if b.done && !b.proc.dead {
		return nil
	}
	return b.mem
}

// Refs implements grant.Pages.
func (b *pages) Refs() []grant.Ref { return b.refs }

// OnRevoke implements grant.Pages. The kernel holds the port from now on: closing
// its channel does not take the event away.
func (b *pages) OnRevoke(clear int, at xen.Port) error {
	p := b.proc
	if err := p.enter(&Call{Op: OpOnRevoke, Port: at}); err != nil {
		return outcome(err, false, "set unmap-notify to port %d", at)
	}
	h := p.dom.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if b.void && p.dom.unaware() && !p.dead {
		// The kernel knows no such port any more.
		return fmt.Errorf("set unmap-notify to port %d: %w", at, syscall.EINVAL)
	}
	if err := b.mayNotify(clear); err != nil {
		return err
	}
	pt := p.dom.ports[at]
	if pt == nil || pt.channel == nil || pt.channel.closed {
		return fmt.Errorf("set unmap-notify to port %d: %w", at, syscall.EINVAL)
	}
	pt.refs++
	b.setNotify(clear, pt)
	return nil
}

// ClearOnRevoke implements grant.Pages.
func (b *pages) ClearOnRevoke(clear int) error {
	p := b.proc
	if err := p.enter(&Call{Op: OpOnRevoke}); err != nil {
		return outcome(err, false, "set unmap-notify")
	}
	h := p.dom.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if b.void && p.dom.unaware() && !p.dead {
		return nil // it is the process's own page still
	}
	if err := b.mayNotify(clear); err != nil {
		return err
	}
	b.setNotify(clear, nil)
	return nil
}

// mayNotify is why no unmap-notify is set, or nil. The caller holds mu.
func (b *pages) mayNotify(clear int) error {
	switch {
	case b.proc.dead:
		return ErrDead
	case b.done || b.void:
		b.proc.dom.host.misuse("OnRevoke of pages that are revoked or void")
		return fmt.Errorf("set unmap-notify: %w", os.ErrClosed)
	case clear < 0 || clear >= len(b.mem):
		return fmt.Errorf("set unmap-notify at byte %d: %w", clear, syscall.EINVAL)
	}
	return nil
}

// setNotify sets the unmap-notify in the place of an earlier one. It owns a reference
// to pt, which is nil where no event is sent. The caller holds mu for writing.
func (b *pages) setNotify(clear int, pt *port) {
	if b.notify != nil {
		b.notify.put()
	}
	b.clears, b.clear, b.notify = true, clear, pt
}

// Revoke implements grant.Pages.
func (b *pages) Revoke() error {
	p := b.proc
	if err := p.enter(&Call{Op: OpRevoke, Pages: len(b.refs)}); err != nil {
		return outcome(err, true, "revoke %d pages", len(b.refs))
	}
	h := p.dom.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if b.done || p.dead {
		return nil
	}
	b.end()
	for _, pg := range b.list {
		if pg.pins == 0 {
			h.poison(pg)
		}
	}
	return nil
}

// end is the kernel's gntalloc taking the pages back, by DEALLOC or because the
// process died: first the byte, then the event, then the grants. The caller
// holds mu for writing.
func (b *pages) end() {
	t := &b.proc.dom.table
	b.done = true
	delete(b.proc.pages, b)
	t.charged -= len(b.list)
	if b.void {
		b.endVoid()
		return
	}
	if b.clears {
		storeByte(&b.mem[b.clear], 0)
	}
	if b.notify != nil {
		b.notify.send()
		b.notify.put()
	}
	for _, pg := range b.list {
		if pg.pins > 0 {
			pg.stuck = true
			t.stuck++
			continue
		}
		t.release(pg)
	}
}

// endVoid gives back pages that were granted before a restore. Where an event was to
// be sent the kernel still holds the old port's number: it closes whatever port has it
// today, be it the kernel's own, and in the best case warns that there is none
// (evtchn_put in drivers/xen/events/events_base.c).
func (b *pages) endVoid() {
	d := b.proc.dom
	if b.notify != nil {
		d.host.misuse("pages with an unmap-notify on port %d of before the restore revoked", b.notify.num)
	}
	if b.clears {
		storeByte(&b.mem[b.clear], 0)
	}
	for _, pg := range b.list {
		d.table.free = append(d.table.free, pg.ref)
	}
}
