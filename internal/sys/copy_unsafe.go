package sys

import "unsafe"

// CopyBatch is how many segments gntdev hands to the hypervisor in one hypercall
// (GNTDEV_COPY_BATCH in drivers/xen/gntdev.c).
const CopyBatch = 16

// StatusUnset stands in the status of a segment until the kernel has set it. No
// status of the grant table is positive.
const StatusUnset int16 = 1

const requestCopy = unsafe.Sizeof(grantCopy{})<<16 | 'G'<<8 | 8

// grantCopy is struct ioctl_gntdev_grant_copy.
type grantCopy struct {
	count    uint32
	_        uint32
	segments unsafe.Pointer
}

// Foreign is a place in a page that another domain has granted.
type Foreign struct {
	Ref    uint32
	Offset uint16
	DomID  uint16
}

// The kernel's struct gntdev_grant_copy_segment is a source and a destination,
// each of them a pointer or a Foreign. Go needs to know which words are pointers:
// the garbage collector must see those, and must not see a Foreign as one. So
// there is one type for each direction.

// CopyIn is a segment that copies from a granted page to local memory.
type CopyIn struct {
	source Foreign
	dest   unsafe.Pointer
	len    uint16
	flags  uint16
	status int16
	_      uint16
}

// CopyOut is a segment that copies from local memory to a granted page.
type CopyOut struct {
	source unsafe.Pointer
	dest   Foreign
	len    uint16
	flags  uint16
	status int16
	_      uint16
}

const (
	copySourceForeign = 1 // GNTCOPY_source_gref
	copyDestForeign   = 2 // GNTCOPY_dest_gref
)

// A build for a machine on which the layout differs stops here.
var (
	_ = [1]struct{}{}[unsafe.Sizeof(CopyIn{})-24]
	_ = [1]struct{}{}[unsafe.Sizeof(CopyOut{})-24]
)

// Set makes s copy len(to) bytes, at most a page, from from to to.
func (s *CopyIn) Set(from Foreign, to []byte) {
	*s = CopyIn{
		source: from,
		dest:   unsafe.Pointer(unsafe.SliceData(to)), // typed, so that the collector sees it
		len:    uint16(len(to)),
		flags:  copySourceForeign,
		status: StatusUnset,
	}
}

// Status is what the kernel said of s (GNTST_*), or StatusUnset.
func (s *CopyIn) Status() int16 { return s.status }

// Set makes s copy all of from, at most a page, to to.
func (s *CopyOut) Set(to Foreign, from []byte) {
	*s = CopyOut{
		source: unsafe.Pointer(unsafe.SliceData(from)), // typed, so that the collector sees it
		dest:   to,
		len:    uint16(len(from)),
		flags:  copyDestForeign,
		status: StatusUnset,
	}
}

// Status is what the kernel said of s (GNTST_*), or StatusUnset.
func (s *CopyOut) Status() int16 { return s.status }

// GrantCopyIn executes segments in order (IOCTL_GNTDEV_GRANT_COPY). After nil
// each of them has its status, which need not be okay; after an error no status
// means anything. At least one segment; the call returns at once only for few
// (CopyBatch).
func GrantCopyIn(f *FD, segments []CopyIn) error {
	request := grantCopy{
		count:    uint32(len(segments)),
		segments: unsafe.Pointer(unsafe.SliceData(segments)), // the kernel writes the statuses there
	}
	_, err := f.ioctlAtOnce(requestCopy, unsafe.Pointer(&request))
	return err
}

// GrantCopyOut is GrantCopyIn for the other direction.
func GrantCopyOut(f *FD, segments []CopyOut) error {
	request := grantCopy{
		count:    uint32(len(segments)),
		segments: unsafe.Pointer(unsafe.SliceData(segments)), // the kernel writes the statuses there
	}
	_, err := f.ioctlAtOnce(requestCopy, unsafe.Pointer(&request))
	return err
}
