package sim

import (
	"errors"
	"fmt"
	"syscall"

	"xvsock/grant"
	"xvsock/xen"
)

// Grants is one process's gntalloc and gntdev. It implements grant.Device.
type Grants struct{ proc *Process }

var _ grant.Device = (*Grants)(nil)

// mapping implements grant.Mapping. Its bytes are the owner's own slice, so that
// the race detector sees both ends at work on one piece of memory.
type mapping struct {
	proc    *Process
	mem     []byte
	list    []*page
	creator stack
	void    bool // mapped before a restore: an access would raise SIGBUS
	done    bool
}

// Map implements grant.Mapper. The pages must follow each other as they did in
// the Share that made them, because one Go slice has to hold them; another order
// is an error that wraps errors.ErrUnsupported, and the only thing that the real
// platform can do and this one cannot.
func (g *Grants) Map(from xen.DomID, refs []grant.Ref) (grant.Mapping, error) {
	p := g.proc
	if err := p.enter(&Call{Op: OpMap, Peer: from, Pages: len(refs)}); err != nil {
		return nil, fmt.Errorf("map %d pages of domain %d: %w", len(refs), from, err)
	}
	h := p.dom.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.dead {
		return nil, ErrDead
	}
	if !from.Valid() {
		return nil, h.notDomain("map", from)
	}
	if len(refs) == 0 {
		return nil, fmt.Errorf("map no page of domain %d: %w", from, syscall.EINVAL)
	}
	m := &mapping{proc: p, creator: caller()}
	for i, ref := range refs {
		pg, status := h.lookup(p.dom.id, from, ref, false)
		if status != grant.StatusOkay {
			// gntdev's mmap says EINVAL whatever Xen's status was.
			return nil, fmt.Errorf("map reference %d of domain %d: %v: %w", ref, from, status, syscall.EINVAL)
		}
		if i > 0 && (pg.block != m.list[0].block || pg.index != m.list[0].index+i) {
			return nil, fmt.Errorf("map reference %d of domain %d: not the page after the last one: %w", ref, from, errors.ErrUnsupported)
		}
		m.list = append(m.list, pg)
	}
	for _, pg := range m.list {
		pg.pins++
	}
	first, end := m.list[0].index*xen.PageSize, (m.list[0].index+len(refs))*xen.PageSize
	m.mem = m.list[0].block.mem[first:end:end]
	p.mappings[m] = struct{}{}
	return m, nil
}

// Mapped returns how many pages of others the domain's processes map, those of before a
// restore included, until they are unmapped.
func (d *Domain) Mapped() (n int) {
	d.host.mu.RLock()
	defer d.host.mu.RUnlock()
	for p := range d.processes {
		for m := range p.mappings {
			n += len(m.list)
		}
	}
	return n
}

// Bytes implements grant.Mapping. After Unmap it is nil.
func (m *mapping) Bytes() []byte {
	h := m.proc.dom.host
	h.mu.RLock()
	defer h.mu.RUnlock()
	switch {
	case m.proc.dead:
	case m.void:
		h.misuse("Bytes of a mapping of before the restore")
	case m.done:
		return nil
	}
	return m.mem
}

// Unmap implements grant.Mapping.
func (m *mapping) Unmap() error {
	p := m.proc
	if err := p.enter(&Call{Op: OpUnmap, Pages: len(m.list)}); err != nil {
		return outcome(err, true, "unmap %d pages", len(m.list))
	}
	h := p.dom.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if !m.done && !p.dead {
		m.end()
	}
	return nil
}

// end is the kernel's unmapping, by the process or by its death. The caller
// holds mu for writing.
func (m *mapping) end() {
	m.done = true
	delete(m.proc.mappings, m)
	if m.void {
		return // the hypervisor forgot it when the domain went
	}
	for _, pg := range m.list {
		m.proc.dom.host.unpin(pg)
	}
}
