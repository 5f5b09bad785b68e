package sys

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tableSpan is how much of the address space one page of page tables maps.
const tableSpan = 2 << 20

// MapAlone is Map, to read, where nothing else of this process is: nothing else is in
// what the same page of page tables maps. Xen does not save a page of the tables of a PV
// domain that maps pages of another domain, so that what else such a page maps would be
// gone after a restore: private memory reads as zeros then.
func MapAlone(f *FD, offset uint64, size int) (*Memory, error) {
	if err := f.acquire(); err != nil {
		return nil, err
	}
	defer f.release()
	span := uintptr((size+tableSpan-1)&^(tableSpan-1) + tableSpan)
	// What is reserved has no page in the tables, and keeps all else away.
	reserved, err := unix.MmapPtr(-1, 0, nil, span, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	at := unsafe.Add(reserved, -uintptr(reserved)&(tableSpan-1))
	p, err := unix.MmapPtr(f.number, int64(offset), at, uintptr(size), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_FIXED)
	if err != nil {
		_ = unix.MunmapPtr(reserved, span) // it was mapped a moment ago
		return nil, err
	}
	m := &Memory{bytes: unsafe.Slice((*byte)(p), size), unmap: func() error { return unix.MunmapPtr(reserved, span) }}
	m.entry = f.record.add(fmt.Sprintf("map of %d bytes of %s at %#x", size, f.name, offset))
	return m, nil
}
