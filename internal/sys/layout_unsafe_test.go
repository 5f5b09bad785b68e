package sys

import (
	"encoding/binary"
	"runtime"
	"testing"
	"unsafe"
)

// The numbers on the right were printed by a C program that includes the
// kernel's headers.

func TestRequestNumbersAreTheKernels(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"IOCTL_GNTALLOC_ALLOC_GREF", requestAllocGref, 0x184705},
		{"IOCTL_GNTALLOC_DEALLOC_GREF", requestDealloc, 0x104706},
		{"IOCTL_GNTALLOC_SET_UNMAP_NOTIFY", requestNotify, 0x104707},
		{"IOCTL_GNTDEV_MAP_GRANT_REF", requestMap, 0x184700},
		{"IOCTL_GNTDEV_UNMAP_GRANT_REF", requestUnmap, 0x104701},
		{"IOCTL_GNTDEV_GRANT_COPY", requestCopy, 0x104708},
		{"IOCTL_EVTCHN_BIND_INTERDOMAIN", requestBindInterdomain, 0x084501},
		{"IOCTL_EVTCHN_BIND_UNBOUND_PORT", requestBindUnbound, 0x044502},
		{"IOCTL_EVTCHN_UNBIND", requestUnbind, 0x044503},
		{"IOCTL_EVTCHN_NOTIFY", requestNotifyPort, 0x044504},
	} {
		if c.got != c.want {
			t.Errorf("%s is %#x, want %#x", c.name, c.got, c.want)
		}
	}
}

func TestLayoutsAreTheKernels(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"size of ioctl_gntalloc_alloc_gref", unsafe.Sizeof(allocGref{}), 24},
		{"alloc_gref.domid", unsafe.Offsetof(allocGref{}.domID), 0},
		{"alloc_gref.flags", unsafe.Offsetof(allocGref{}.flags), 2},
		{"alloc_gref.count", unsafe.Offsetof(allocGref{}.count), 4},
		{"alloc_gref.index", unsafe.Offsetof(allocGref{}.index), 8},
		{"alloc_gref.gref_ids", unsafe.Offsetof(allocGref{}.refs), 16},
		{"size of ioctl_gntalloc_dealloc_gref", unsafe.Sizeof(deallocGref{}), 16},
		{"dealloc_gref.index", unsafe.Offsetof(deallocGref{}.index), 0},
		{"dealloc_gref.count", unsafe.Offsetof(deallocGref{}.count), 8},
		{"size of the kernel's sigaction", unsafe.Sizeof(signalAction{}), 32},
		{"size of ioctl_gntalloc_unmap_notify", unsafe.Sizeof(unmapNotify{}), 16},
		{"unmap_notify.index", unsafe.Offsetof(unmapNotify{}.index), 0},
		{"unmap_notify.action", unsafe.Offsetof(unmapNotify{}.action), 8},
		{"unmap_notify.event_channel_port", unsafe.Offsetof(unmapNotify{}.port), 12},
		{"size of ioctl_gntdev_map_grant_ref", unsafe.Sizeof(mapGrantRef{}), 24},
		{"map_grant_ref.count", unsafe.Offsetof(mapGrantRef{}.count), 0},
		{"map_grant_ref.index", unsafe.Offsetof(mapGrantRef{}.index), 8},
		{"map_grant_ref.refs", unsafe.Offsetof(mapGrantRef{}.refs), 16},
		{"size of ioctl_gntdev_grant_ref", unsafe.Sizeof(grantRef{}), 8},
		{"grant_ref.domid", unsafe.Offsetof(grantRef{}.domID), 0},
		{"grant_ref.ref", unsafe.Offsetof(grantRef{}.ref), 4},
		{"size of ioctl_gntdev_unmap_grant_ref", unsafe.Sizeof(unmapGrantRef{}), 16},
		{"unmap_grant_ref.index", unsafe.Offsetof(unmapGrantRef{}.index), 0},
		{"unmap_grant_ref.count", unsafe.Offsetof(unmapGrantRef{}.count), 8},
		{"size of ioctl_gntdev_grant_copy", unsafe.Sizeof(grantCopy{}), 16},
		{"grant_copy.count", unsafe.Offsetof(grantCopy{}.count), 0},
		{"grant_copy.segments", unsafe.Offsetof(grantCopy{}.segments), 8},
		{"foreign.ref", unsafe.Offsetof(Foreign{}.Ref), 0},
		{"foreign.offset", unsafe.Offsetof(Foreign{}.Offset), 4},
		{"foreign.domid", unsafe.Offsetof(Foreign{}.DomID), 6},
		{"size of gntdev_grant_copy_segment, in", unsafe.Sizeof(CopyIn{}), 24},
		{"segment.source, in", unsafe.Offsetof(CopyIn{}.source), 0},
		{"segment.dest, in", unsafe.Offsetof(CopyIn{}.dest), 8},
		{"segment.len, in", unsafe.Offsetof(CopyIn{}.len), 16},
		{"segment.flags, in", unsafe.Offsetof(CopyIn{}.flags), 18},
		{"segment.status, in", unsafe.Offsetof(CopyIn{}.status), 20},
		{"size of gntdev_grant_copy_segment, out", unsafe.Sizeof(CopyOut{}), 24},
		{"segment.source, out", unsafe.Offsetof(CopyOut{}.source), 0},
		{"segment.dest, out", unsafe.Offsetof(CopyOut{}.dest), 8},
		{"segment.len, out", unsafe.Offsetof(CopyOut{}.len), 16},
		{"segment.flags, out", unsafe.Offsetof(CopyOut{}.flags), 18},
		{"segment.status, out", unsafe.Offsetof(CopyOut{}.status), 20},
		{"size of ioctl_evtchn_bind_interdomain", unsafe.Sizeof(bindInterdomain{}), 8},
		{"bind_interdomain.remote_domain", unsafe.Offsetof(bindInterdomain{}.remoteDomain), 0},
		{"bind_interdomain.remote_port", unsafe.Offsetof(bindInterdomain{}.remotePort), 4},
		{"size of ioctl_evtchn_bind_unbound_port", unsafe.Sizeof(bindUnbound{}), 4},
		{"size of ioctl_evtchn_notify", unsafe.Sizeof(portRequest{}), 4},
	} {
		if c.got != c.want {
			t.Errorf("%s is %d, want %d", c.name, c.got, c.want)
		}
	}
}

// image is the memory of v as the kernel sees it.
func image[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

func TestACopySegmentHasEachWordWhereTheKernelReadsIt(t *testing.T) {
	local := make([]byte, 0x123)
	address := uint64(uintptr(unsafe.Pointer(&local[0])))
	far := Foreign{Ref: 0x11223344, Offset: 0x0556, DomID: 0x7788}
	e := binary.NativeEndian

	var in CopyIn
	in.Set(far, local)
	b := image(&in)
	if e.Uint32(b) != far.Ref || e.Uint16(b[4:]) != far.Offset || e.Uint16(b[6:]) != far.DomID {
		t.Errorf("in: the source is % x", b[:8])
	}
	if e.Uint64(b[8:]) != address || e.Uint16(b[16:]) != 0x123 || e.Uint16(b[18:]) != 1 {
		t.Errorf("in: destination, length and flags are % x", b[8:20])
	}
	if in.Status() == 0 || e.Uint16(b[20:]) != uint16(in.Status()) {
		t.Errorf("in: the status before the call is %d, must not be okay", in.Status())
	}

	var out CopyOut
	out.Set(far, local)
	b = image(&out)
	if e.Uint32(b[8:]) != far.Ref || e.Uint16(b[12:]) != far.Offset || e.Uint16(b[14:]) != far.DomID {
		t.Errorf("out: the destination is % x", b[8:16])
	}
	if e.Uint64(b) != address || e.Uint16(b[16:]) != 0x123 || e.Uint16(b[18:]) != 2 {
		t.Errorf("out: source, length and flags are % x % x", b[:8], b[16:20])
	}
	if out.Status() == 0 || e.Uint16(b[20:]) != uint16(out.Status()) {
		t.Errorf("out: the status before the call is %d, must not be okay", out.Status())
	}
	runtime.KeepAlive(local)
}

func TestTheAllocBufferHoldsTheStructureAndEveryReference(t *testing.T) {
	for _, c := range []struct{ count, bytes int }{{1, 24}, {2, 24}, {3, 32}, {4, 32}, {257, 1048}} {
		buffer := allocBuffer(c.count)
		if len(buffer)*8 != c.bytes {
			t.Errorf("buffer for %d references is %d bytes, want %d", c.count, len(buffer)*8, c.bytes)
		}
		raw := unsafe.Slice((*byte)(unsafe.Pointer(&buffer[0])), len(buffer)*8)
		for i := range c.count {
			binary.NativeEndian.PutUint32(raw[16+4*i:], uint32(1000+i))
		}
		refs := allocRefs(buffer, c.count)
		if len(refs) != c.count {
			t.Fatalf("%d references from a buffer for %d", len(refs), c.count)
		}
		for i, ref := range refs {
			if ref != uint32(1000+i) {
				t.Errorf("reference %d of %d is %d, want %d", i, c.count, ref, 1000+i)
			}
		}
	}
}

func TestTheMapBufferListsEveryReferenceWithItsDomain(t *testing.T) {
	for _, refs := range [][]uint32{{7}, {7, 8, 0xFFFFFFFF}} {
		buffer := mapBuffer(0x1234, refs)
		raw := unsafe.Slice((*byte)(unsafe.Pointer(&buffer[0])), len(buffer)*8)
		if len(raw) != 16+8*len(refs) {
			t.Fatalf("buffer for %d references is %d bytes", len(refs), len(raw))
		}
		e := binary.NativeEndian
		if e.Uint32(raw) != uint32(len(refs)) {
			t.Errorf("count is %d, want %d", e.Uint32(raw), len(refs))
		}
		for i, ref := range refs {
			if e.Uint32(raw[16+8*i:]) != 0x1234 || e.Uint32(raw[20+8*i:]) != ref {
				t.Errorf("reference %d is % x", i, raw[16+8*i:24+8*i])
			}
		}
	}
}
