package sys

import (
	"testing"
	"unsafe"
)

// The numbers on the right are those of strace and of the kernel's headers.

func TestVhostRequestNumbersAreTheKernels(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"VHOST_GET_FEATURES", requestGetFeatures, 0x8008AF00},
		{"VHOST_SET_FEATURES", requestSetFeatures, 0x4008AF00},
		{"VHOST_SET_OWNER", requestSetOwner, 0x0000AF01},
		{"VHOST_SET_MEM_TABLE", requestSetMemTable, 0x4008AF03},
		{"VHOST_SET_VRING_NUM", requestVringNum, 0x4008AF10},
		{"VHOST_SET_VRING_ADDR", requestVringAddr, 0x4028AF11},
		{"VHOST_SET_VRING_BASE", requestVringBase, 0x4008AF12},
		{"VHOST_SET_VRING_KICK", requestVringKick, 0x4008AF20},
		{"VHOST_SET_VRING_CALL", requestVringCall, 0x4008AF21},
		{"VHOST_SET_VRING_ERR", requestVringErr, 0x4008AF22},
		{"VHOST_VSOCK_SET_GUEST_CID", requestSetGuestCID, 0x4008AF60},
		{"VHOST_VSOCK_SET_RUNNING", requestSetRunning, 0x4004AF61},
	} {
		if c.got != c.want {
			t.Errorf("%s is %#x, want %#x", c.name, c.got, c.want)
		}
	}
}

func TestVhostLayoutsAreTheKernels(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"size of vhost_memory with a region", unsafe.Sizeof(vhostMemory{}), 40},
		{"memory.nregions", unsafe.Offsetof(vhostMemory{}.regions), 0},
		{"region.guest_phys_addr", unsafe.Offsetof(vhostMemory{}.guest), 8},
		{"region.memory_size", unsafe.Offsetof(vhostMemory{}.size), 16},
		{"region.userspace_addr", unsafe.Offsetof(vhostMemory{}.user), 24},
		{"region.flags_padding", unsafe.Offsetof(vhostMemory{}.regionFlags), 32},
		{"size of vhost_vring_state", unsafe.Sizeof(vringState{}), 8},
		{"vring_state.num", unsafe.Offsetof(vringState{}.num), 4},
		{"size of vhost_vring_file", unsafe.Sizeof(vringFile{}), 8},
		{"vring_file.fd", unsafe.Offsetof(vringFile{}.fd), 4},
		{"size of vhost_vring_addr", unsafe.Sizeof(vringAddr{}), 40},
		{"vring_addr.flags", unsafe.Offsetof(vringAddr{}.flags), 4},
		{"vring_addr.desc_user_addr", unsafe.Offsetof(vringAddr{}.desc), 8},
		{"vring_addr.used_user_addr", unsafe.Offsetof(vringAddr{}.used), 16},
		{"vring_addr.avail_user_addr", unsafe.Offsetof(vringAddr{}.avail), 24},
		{"vring_addr.log_guest_addr", unsafe.Offsetof(vringAddr{}.log), 32},
	} {
		if c.got != c.want {
			t.Errorf("%s is %d, want %d", c.name, c.got, c.want)
		}
	}
}
