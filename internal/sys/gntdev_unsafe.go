package sys

import "unsafe"

// Requests of /dev/xen/gntdev for mapping; the one for copying is in
// copy_unsafe.go.
const (
	requestMap   = unsafe.Sizeof(mapGrantRef{})<<16 | 'G'<<8 // number 0
	requestUnmap = unsafe.Sizeof(unmapGrantRef{})<<16 | 'G'<<8 | 1
)

// mapGrantRef is struct ioctl_gntdev_map_grant_ref. The references continue
// behind the structure, whose size counts one of them.
type mapGrantRef struct {
	count uint32
	_     uint32
	index uint64
	refs  [1]grantRef
}

// grantRef is struct ioctl_gntdev_grant_ref.
type grantRef struct {
	domID uint32
	ref   uint32
}

// unmapGrantRef is struct ioctl_gntdev_unmap_grant_ref.
type unmapGrantRef struct {
	index uint64
	count uint32
	_     uint32
}

// MapGrants names the pages that domain domID granted under refs
// (IOCTL_GNTDEV_MAP_GRANT_REF). The grants are mapped only by a Map at index, all
// of them in one mapping; that is also where a bad reference shows, as EINVAL.
// There must be at least one reference.
func MapGrants(f *FD, domID uint16, refs []uint32) (index uint64, err error) {
	buffer := mapBuffer(domID, refs)
	request := (*mapGrantRef)(unsafe.Pointer(unsafe.SliceData(buffer)))
	if _, err := f.ioctl(requestMap, unsafe.Pointer(request)); err != nil {
		return 0, err
	}
	return request.index, nil
}

// mapBuffer returns a mapGrantRef with all refs behind it, 16+8*len(refs) bytes.
// Its elements are uint64 for the alignment of index.
func mapBuffer(domID uint16, refs []uint32) []uint64 {
	const header = unsafe.Offsetof(mapGrantRef{}.refs)
	buffer := make([]uint64, header/8+uintptr(len(refs)))
	request := (*mapGrantRef)(unsafe.Pointer(unsafe.SliceData(buffer)))
	request.count = uint32(len(refs))
	// One grantRef is one uint64 of the buffer in size and alignment.
	list := unsafe.Slice((*grantRef)(unsafe.Pointer(&request.refs)), len(refs))
	for i, ref := range refs {
		list[i] = grantRef{domID: uint32(domID), ref: ref}
	}
	return buffer
}

// UnmapGrants forgets what MapGrants named (IOCTL_GNTDEV_UNMAP_GRANT_REF). The
// mapping is undone first, with Memory.Unmap.
func UnmapGrants(f *FD, index uint64, count int) error {
	request := unmapGrantRef{index: index, count: uint32(count)}
	_, err := f.ioctl(requestUnmap, unsafe.Pointer(&request))
	return err
}
