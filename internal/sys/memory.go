package sys

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Memory is a shared mapping of a device. It outlives the Close of the FD that
// it was made from.
type Memory struct {
	entry *entry

	mu    sync.Mutex
	bytes []byte       // nil once unmapped
	unmap func() error // nil: what is mapped is bytes, by unix.Mmap
}

// Map maps size bytes of the device, from offset on, shared (both grant devices
// refuse a private mapping), readable and, if writable is set, writable.
func Map(f *FD, offset uint64, size int, writable bool) (*Memory, error) {
	if err := f.acquire(); err != nil {
		return nil, err
	}
	defer f.release()
	protection := unix.PROT_READ
	if writable {
		protection |= unix.PROT_WRITE
	}
	b, err := unix.Mmap(f.number, int64(offset), size, protection, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	m := &Memory{bytes: b}
	m.entry = f.record.add(fmt.Sprintf("map of %d bytes of %s at %#x", size, f.name, offset))
	return m, nil
}

// Bytes is the mapped memory, nil after Unmap. A slice taken before must not be
// touched after it: the access would fault.
func (m *Memory) Bytes() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes
}

// Unmap ends the mapping. A second call does nothing.
func (m *Memory) Unmap() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bytes == nil {
		return nil
	}
	b := m.bytes
	m.bytes = nil
	m.entry.drop()
	if m.unmap != nil {
		return m.unmap()
	}
	return unix.Munmap(b)
}
