package sys

import (
	"slices"
	"unsafe"
)

// Requests of /dev/xen/gntalloc: size of the structure in bits 16 and up, type
// 'G', number. There are no direction bits (_IOC_NONE).
const (
	requestAllocGref = unsafe.Sizeof(allocGref{})<<16 | 'G'<<8 | 5
	requestDealloc   = unsafe.Sizeof(deallocGref{})<<16 | 'G'<<8 | 6
	requestNotify    = unsafe.Sizeof(unmapNotify{})<<16 | 'G'<<8 | 7
)

// allocGref is struct ioctl_gntalloc_alloc_gref. The references continue behind
// the structure; the two here are those that its size counts, padding included.
type allocGref struct {
	domID uint16
	flags uint16
	count uint32
	index uint64
	refs  [2]uint32
}

const (
	allocHeader   = unsafe.Offsetof(allocGref{}.refs)
	allocWritable = 1 // GNTALLOC_FLAG_WRITABLE
)

// deallocGref is struct ioctl_gntalloc_dealloc_gref.
type deallocGref struct {
	index uint64
	count uint32
	_     uint32
}

// unmapNotify is struct ioctl_gntalloc_unmap_notify.
type unmapNotify struct {
	index  uint64
	action uint32
	port   uint32
}

const (
	notifyClearByte = 1 // UNMAP_NOTIFY_CLEAR_BYTE
	notifySendEvent = 2 // UNMAP_NOTIFY_SEND_EVENT
)

// AllocGrants allocates count zeroed pages and grants each to domain domID
// (IOCTL_GNTALLOC_ALLOC_GREF). The pages are mapped with Map at index, all of
// them in one mapping. ENOSPC: the module's limit or the grant table is used
// up. count must be at least 1 and small enough for a buffer of that size.
func AllocGrants(f *FD, domID uint16, count int, writable bool) (index uint64, refs []uint32, err error) {
	buffer := allocBuffer(count)
	request := (*allocGref)(unsafe.Pointer(unsafe.SliceData(buffer)))
	request.domID, request.count = domID, uint32(count)
	if writable {
		request.flags = allocWritable
	}
	if _, err := f.ioctl(requestAllocGref, unsafe.Pointer(request)); err != nil {
		return 0, nil, err
	}
	return request.index, allocRefs(buffer, count), nil
}

// allocBuffer returns memory for an allocGref with count references: 16+4*count
// bytes, in elements of uint64 for the alignment of index. Rounded up so, it
// holds at least the whole structure, which the kernel copies in any case.
func allocBuffer(count int) []uint64 {
	return make([]uint64, (allocHeader+4*uintptr(count)+7)/8)
}

// allocRefs copies the references out of a buffer that the kernel has filled.
func allocRefs(buffer []uint64, count int) []uint32 {
	// The references lie behind the fixed part of the structure that starts the
	// buffer; allocBuffer made room for count of them.
	first := unsafe.Add(unsafe.Pointer(unsafe.SliceData(buffer)), allocHeader)
	return slices.Clone(unsafe.Slice((*uint32)(first), count))
}

// DeallocGrants gives count pages at index back (IOCTL_GNTALLOC_DEALLOC_GREF).
// The grants end when they are not mapped in this process any more.
func DeallocGrants(f *FD, index uint64, count int) error {
	request := deallocGref{index: index, count: uint32(count)}
	_, err := f.ioctl(requestDealloc, unsafe.Pointer(&request))
	return err
}

// SetUnmapNotify arranges that the kernel, when it ends the grant of the page
// with the byte at index, clears that byte and sends an event on port, in this
// order (IOCTL_GNTALLOC_SET_UNMAP_NOTIFY). EINVAL: port is not bound through
// /dev/xen/evtchn. ENOENT: no such page.
func SetUnmapNotify(f *FD, index uint64, port uint32) error {
	return setUnmapNotify(f, unmapNotify{index: index, action: notifyClearByte | notifySendEvent, port: port})
}

// SetUnmapClear is SetUnmapNotify without the event: the kernel clears the byte, and
// holds and touches no port.
func SetUnmapClear(f *FD, index uint64) error {
	return setUnmapNotify(f, unmapNotify{index: index, action: notifyClearByte})
}

func setUnmapNotify(f *FD, request unmapNotify) error {
	_, err := f.ioctl(requestNotify, unsafe.Pointer(&request))
	return err
}
