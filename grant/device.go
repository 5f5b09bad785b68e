package grant

import (
	"xvsock/internal/sys"
	"xvsock/xen"
)

// allocator is what Share needs of gntalloc; tests have their own.
type allocator interface {
	alloc(to xen.DomID, n int, writable bool) (index uint64, refs []uint32, err error)
	mmap(index uint64, n int) (memory, error)
	notify(index uint64, port xen.Port) error
	clear(index uint64) error
	dealloc(index uint64, n int) error
}

// mapDevice is what Map needs of gntdev.
type mapDevice interface {
	name(from xen.DomID, refs []uint32) (index uint64, err error)
	mmap(index uint64, n int) (memory, error)
	forget(index uint64, n int) error
}

// memory is a mapping of a device.
type memory interface {
	Bytes() []byte
	Unmap() error
}

type gntallocDevice struct{ fd *sys.FD }

func (d gntallocDevice) alloc(to xen.DomID, n int, writable bool) (uint64, []uint32, error) {
	return sys.AllocGrants(d.fd, uint16(to), n, writable)
}

func (d gntallocDevice) mmap(index uint64, n int) (memory, error) {
	return memoryOf(sys.Map(d.fd, index, n*xen.PageSize, true))
}

func (d gntallocDevice) notify(index uint64, port xen.Port) error {
	return sys.SetUnmapNotify(d.fd, index, uint32(port))
}

func (d gntallocDevice) clear(index uint64) error { return sys.SetUnmapClear(d.fd, index) }

func (d gntallocDevice) dealloc(index uint64, n int) error {
	return sys.DeallocGrants(d.fd, index, n)
}

type gntdevDevice struct{ fd *sys.FD }

func (d gntdevDevice) name(from xen.DomID, refs []uint32) (uint64, error) {
	return sys.MapGrants(d.fd, uint16(from), refs)
}

func (d gntdevDevice) mmap(index uint64, n int) (memory, error) {
	return memoryOf(sys.MapAlone(d.fd, index, n*xen.PageSize))
}

func (d gntdevDevice) forget(index uint64, n int) error {
	return sys.UnmapGrants(d.fd, index, n)
}

func memoryOf(m *sys.Memory, err error) (memory, error) {
	if err != nil {
		return nil, err // not m: a nil *sys.Memory is no nil memory
	}
	return m, nil
}
