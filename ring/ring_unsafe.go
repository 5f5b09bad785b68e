//go:build !(mips || mips64 || ppc64 || s390x)

package ring

import (
	"sync/atomic"
	"unsafe"
)

// Shared words are reached by Go's atomics, which are sequentially consistent:
// no load or store of one moves across another, and plain accesses stay on
// their side. Every unsafe use below turns a place in a byte slice into a word;
// New and Format have checked that the slice is a whole header at a multiple of
// 8 (checkPage), and every offset is a constant of the layout, aligned to its
// word.

// aligned reports whether b begins at a multiple of 8.
func aligned(b []byte) bool {
	// SAFETY: the address is only looked at.
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))%8 == 0
}

// word64 returns the 8-byte word at off of a header page.
func word64(page []byte, off int) *uint64 {
	// SAFETY: slicing checks the bounds and touches no byte; alignment by
	// checkPage.
	return (*uint64)(unsafe.Pointer(unsafe.SliceData(page[off : off+8])))
}

// word32 returns the 4-byte word at off of a header page.
func word32(page []byte, off int) *uint32 {
	// SAFETY: as word64.
	return (*uint32)(unsafe.Pointer(unsafe.SliceData(page[off : off+4])))
}

// The shared words are little-endian, as are all machines that Xen runs on: the build
// constraint of this file is for the others.

func storeLE64(p *uint64, v uint64) { atomic.StoreUint64(p, v) }

func storeLE32(p *uint32, v uint32) { atomic.StoreUint32(p, v) }

func loadLE64(p *uint64) uint64 { return atomic.LoadUint64(p) }

func loadLE32(p *uint32) uint32 { return atomic.LoadUint32(p) }
