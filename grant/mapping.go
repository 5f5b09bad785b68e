package grant

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"xvsock/xen"
)

// errNoFault says why Map does nothing. Where Xen translates a domain's memory (PVH,
// HVM), a mapping is a place in that memory, and none is there after a restore: Xen takes
// a load for one of a device that does not exist, and gives ones for an answer. Payload
// that was being read then would be wrong, and nobody would know.
var errNoFault = fmt.Errorf("only a PV domain notices that a mapping is void: %w", errors.ErrUnsupported)

// Map implements Mapper. In a domain that is not PV its error wraps
// errors.ErrUnsupported. The kernel does not say which reference is bad: the error for
// any that is revoked, or not for this domain, wraps EINVAL.
func (k *Kernel) Map(from xen.DomID, refs []Ref) (Mapping, error) {
	m, err := (*mapping)(nil), errNoFault
	if k.faults {
		m, err = mapPages(k.mapping, from, refs)
	}
	if err != nil {
		return nil, fmt.Errorf("map %d pages of domain %v: %w", len(refs), from, err)
	}
	return m, nil
}

func mapPages(device mapDevice, from xen.DomID, refs []Ref) (*mapping, error) {
	if !from.Valid() {
		return nil, xen.ErrDomID
	}
	if len(refs) < 1 || len(refs) > maxPages {
		return nil, errPageCount
	}
	numbers := make([]uint32, len(refs))
	for i, ref := range refs {
		numbers[i] = uint32(ref)
	}
	index, err := device.name(from, numbers)
	if err != nil {
		return nil, err
	}
	m, err := device.mmap(index, len(refs))
	if err != nil {
		if errors.Is(err, syscall.EINVAL) {
			err = fmt.Errorf("a reference is revoked or not for this domain: %w", err)
		}
		return nil, errors.Join(err, device.forget(index, len(refs)))
	}
	return &mapping{device: device, index: index, n: len(refs), memory: m}, nil
}

// mapping implements Mapping.
type mapping struct {
	device mapDevice
	index  uint64 // gntdev's name for the pages
	n      int

	mu     sync.Mutex
	memory memory // nil after Unmap
}

// Bytes implements Mapping. After Unmap it is nil.
func (m *mapping) Bytes() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.memory == nil {
		return nil
	}
	return m.memory.Bytes()
}

// Unmap implements Mapping. The mapping goes first, then gntdev's note of it.
func (m *mapping) Unmap() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.memory == nil {
		return nil
	}
	mem := m.memory
	m.memory = nil
	err := mem.Unmap()
	// A device that was closed has forgotten its notes already.
	if e := m.device.forget(m.index, m.n); e != nil && !errors.Is(e, os.ErrClosed) {
		err = errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("unmap %d pages: %w", m.n, err)
	}
	return nil
}
