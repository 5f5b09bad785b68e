package grant

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"

	"xvsock/xen"
)

// maxPages is the most pages in one Share or Map: far above what a link uses
// (1 MiB rings are 257), far below what could hurt the kernel's allocator.
const maxPages = 1 << 15

var errPageCount = fmt.Errorf("number of pages is not 1 to %d", maxPages)

// Share implements Sharer. All pages of one Share are one allocation and one
// mapping: gntalloc counts the users of a mapping's pages by walking its list of
// allocations, and a mapping over two of them could drop the wrong ones.
func (k *Kernel) Share(to xen.DomID, n int, access Access) (Pages, error) {
	p, err := share(k.sharing, to, n, access)
	if err != nil {
		return nil, fmt.Errorf("grant %d pages to domain %v: %w", n, to, err)
	}
	return p, nil
}

func share(device allocator, to xen.DomID, n int, access Access) (*pages, error) {
	switch {
	case !to.Valid():
		return nil, xen.ErrDomID
	case n < 1 || n > maxPages:
		return nil, errPageCount
	case access != ReadOnly && access != Writable:
		return nil, fmt.Errorf("no such access: %d", access)
	}
	index, refs, err := device.alloc(to, n, access == Writable)
	if errors.Is(err, syscall.ENOSPC) {
		return nil, fmt.Errorf("%w: %w", ErrNoGrants, err)
	}
	if err != nil {
		return nil, err
	}
	m, err := device.mmap(index, n)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map them: %w", err), device.dealloc(index, n))
	}
	return &pages{device: device, index: index, refs: asRefs(refs), memory: m}, nil
}

func asRefs(numbers []uint32) []Ref {
	refs := make([]Ref, len(numbers))
	for i, n := range numbers {
		refs[i] = Ref(n)
	}
	return refs
}

// pages implements Pages.
type pages struct {
	device allocator
	index  uint64 // gntalloc's name for the first page, and its offset for mmap
	refs   []Ref

	mu     sync.Mutex
	memory memory // nil after Revoke
}

// Bytes implements Pages. After Revoke it is nil.
func (p *pages) Bytes() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.memory == nil {
		return nil
	}
	return p.memory.Bytes()
}

// Refs implements Pages.
func (p *pages) Refs() []Ref { return slices.Clip(p.refs) }

// OnRevoke implements Pages. After Revoke the error wraps os.ErrClosed.
func (p *pages) OnRevoke(clear int, port xen.Port) error {
	if err := p.onRevoke(clear, func(index uint64) error { return p.device.notify(index, port) }); err != nil {
		return fmt.Errorf("notify port %d on revoke: %w", port, err)
	}
	return nil
}

// ClearOnRevoke implements Pages. After Revoke the error wraps os.ErrClosed.
func (p *pages) ClearOnRevoke(clear int) error {
	if err := p.onRevoke(clear, p.device.clear); err != nil {
		return fmt.Errorf("clear a byte on revoke: %w", err)
	}
	return nil
}

// onRevoke calls set with the device's index of the byte at offset clear.
func (p *pages) onRevoke(clear int, set func(index uint64) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.memory == nil {
		return os.ErrClosed
	}
	if clear < 0 || clear >= len(p.refs)*xen.PageSize {
		return fmt.Errorf("byte %d is not in %d pages", clear, len(p.refs))
	}
	return set(p.index + uint64(clear))
}

// Revoke implements Pages. The kernel ends the grants when neither a mapping nor
// the device's list of allocations holds the pages any more, so both have to go.
func (p *pages) Revoke() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.memory == nil {
		return nil
	}
	m := p.memory
	p.memory = nil
	err := m.Unmap()
	// A device that was closed has forgotten its allocations already.
	if e := p.device.dealloc(p.index, len(p.refs)); e != nil && !errors.Is(e, os.ErrClosed) {
		err = errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("revoke %d pages: %w", len(p.refs), err)
	}
	return nil
}
