package sys

import (
	"os"
	"unsafe"
)

// Requests of /dev/vhost-vsock (include/uapi/linux/vhost.h), as _IO, _IOR and _IOW
// make them: direction, size of the argument, type 0xAF, number.
const (
	vhostType  = 0xAF << 8
	vhostWrite = 1<<30 | vhostType // _IOC_WRITE: the kernel reads the argument
	vhostRead  = 2<<30 | vhostType

	requestSetOwner    = vhostType | 0x01
	requestGetFeatures = vhostRead | 8<<16
	requestSetFeatures = vhostWrite | 8<<16
	requestSetMemTable = vhostWrite | 8<<16 | 0x03 // counts the head of the structure only
	requestVringNum    = vhostWrite | unsafe.Sizeof(vringState{})<<16 | 0x10
	requestVringAddr   = vhostWrite | unsafe.Sizeof(vringAddr{})<<16 | 0x11
	requestVringBase   = vhostWrite | unsafe.Sizeof(vringState{})<<16 | 0x12
	requestVringKick   = vhostWrite | unsafe.Sizeof(vringFile{})<<16 | 0x20
	requestVringCall   = vhostWrite | unsafe.Sizeof(vringFile{})<<16 | 0x21
	requestVringErr    = vhostWrite | unsafe.Sizeof(vringFile{})<<16 | 0x22
	requestSetGuestCID = vhostWrite | 8<<16 | 0x60
	requestSetRunning  = vhostWrite | 4<<16 | 0x61
)

// Feature bits (include/uapi/linux/virtio_config.h, virtio_vsock.h).
const (
	FeatureSeqpacket = 1 << 1  // VIRTIO_VSOCK_F_SEQPACKET
	FeatureVersion1  = 1 << 32 // VIRTIO_F_VERSION_1
)

// Names of requests in the os.SyscallError of the functions below, by which a caller
// can tell what an errno means.
const (
	StepSetOwner = "VHOST_SET_OWNER"
	StepSetCID   = "VHOST_VSOCK_SET_GUEST_CID"
)

// vhostMemory is struct vhost_memory with one region, a struct vhost_memory_region.
type vhostMemory struct {
	regions, _  uint32
	guest       uint64
	size        uint64
	user        uint64
	regionFlags uint64
}

// vringState is struct vhost_vring_state, vringFile struct vhost_vring_file, vringAddr
// struct vhost_vring_addr.
type (
	vringState struct{ index, num uint32 }
	vringFile  struct {
		index uint32
		fd    int32
	}
	vringAddr struct {
		index, flags           uint32
		desc, used, avail, log uint64
	}
)

// VhostSetOwner binds f to this process, and starts the kernel's worker for it
// (VHOST_SET_OWNER).
func VhostSetOwner(f *FD) error {
	_, err := f.ioctl(requestSetOwner, nil)
	return os.NewSyscallError(StepSetOwner, err)
}

// VhostFeatures returns the features that the kernel has (VHOST_GET_FEATURES).
func VhostFeatures(f *FD) (features uint64, err error) {
	_, err = f.ioctl(requestGetFeatures, unsafe.Pointer(&features))
	return features, os.NewSyscallError("VHOST_GET_FEATURES", err)
}

// VhostSetFeatures chooses among them (VHOST_SET_FEATURES).
func VhostSetFeatures(f *FD, features uint64) error {
	_, err := f.ioctl(requestSetFeatures, unsafe.Pointer(&features))
	return os.NewSyscallError("VHOST_SET_FEATURES", err)
}

// VhostSetMemory makes m, which is not of Go's heap, all the memory that a descriptor
// can name; its address 0 is where m begins (VHOST_SET_MEM_TABLE). m stays mapped
// until f is closed.
func VhostSetMemory(f *FD, m *Memory) error {
	b := m.Bytes()
	// SAFETY: b is no Go memory, so that its address stays as it is.
	table := vhostMemory{regions: 1, size: uint64(len(b)), user: address(b)}
	_, err := f.ioctl(requestSetMemTable, unsafe.Pointer(&table))
	return os.NewSyscallError("VHOST_SET_MEM_TABLE", err)
}

// VhostRing is one virtqueue: its three parts lie in the memory of VhostSetMemory.
type VhostRing struct {
	Size              int    // entries, a power of two
	Base              uint16 // the first index of avail; used.idx must be the same
	Desc, Avail, Used []byte
	Kick              *FD    // of NewKick
	Call, Fault       *Event // Fault may belong to several rings
}

// VhostSetRing gives the kernel the virtqueue of that index (VHOST_SET_VRING_*).
func VhostSetRing(f *FD, index int, r VhostRing) error {
	i := uint32(index)
	num := vringState{i, uint32(r.Size)}
	base := vringState{i, uint32(r.Base)}
	// SAFETY: as in VhostSetMemory.
	where := vringAddr{index: i, desc: address(r.Desc), used: address(r.Used), avail: address(r.Avail)}
	fault := vringFile{i, int32(r.Fault.number)}
	call := vringFile{i, int32(r.Call.number)}
	kick := vringFile{i, int32(r.Kick.number)}
	for _, step := range []struct {
		name    string
		request uintptr
		arg     unsafe.Pointer
	}{
		{"VHOST_SET_VRING_NUM", requestVringNum, unsafe.Pointer(&num)},
		{"VHOST_SET_VRING_BASE", requestVringBase, unsafe.Pointer(&base)},
		{"VHOST_SET_VRING_ADDR", requestVringAddr, unsafe.Pointer(&where)},
		{"VHOST_SET_VRING_ERR", requestVringErr, unsafe.Pointer(&fault)},
		{"VHOST_SET_VRING_CALL", requestVringCall, unsafe.Pointer(&call)},
		{"VHOST_SET_VRING_KICK", requestVringKick, unsafe.Pointer(&kick)},
	} {
		if _, err := f.ioctl(step.request, step.arg); err != nil {
			return os.NewSyscallError(step.name, err)
		}
	}
	return nil
}

// VhostRun has the kernel work the rings, or leave them: once it returns from that,
// the kernel does not touch them any more (VHOST_VSOCK_SET_RUNNING).
func VhostRun(f *FD, on bool) error {
	var value int32
	if on {
		value = 1
	}
	_, err := f.ioctl(requestSetRunning, unsafe.Pointer(&value))
	return os.NewSyscallError("VHOST_VSOCK_SET_RUNNING", err)
}

// VhostSetCID makes sockets find f under cid (VHOST_VSOCK_SET_GUEST_CID). It comes
// last: a connection to a CID that does not run waits for its timeout.
func VhostSetCID(f *FD, cid uint32) error {
	wide := uint64(cid)
	_, err := f.ioctl(requestSetGuestCID, unsafe.Pointer(&wide))
	return os.NewSyscallError(StepSetCID, err)
}

// address is where b lies, as the kernel wants it in a structure.
func address(b []byte) uint64 {
	// SAFETY: the address is only looked at.
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
}
