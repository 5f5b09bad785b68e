package sys

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// VhostVsock is where the kernel lets a process be a virtual machine with a CID, and
// VsockDevice where it tells its own.
const (
	VhostVsock  = "/dev/vhost-vsock"
	VsockDevice = "/dev/vsock"
)

// OpenVhostVsock opens VhostVsock. ENOENT, ENXIO and ENODEV all say that the module
// vhost_vsock is not there: the node may stand without it.
func OpenVhostVsock(record *Record) (*FD, error) {
	number, err := retry(func() (int, error) {
		return unix.Open(VhostVsock, unix.O_RDWR|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	return newFD(number, VhostVsock, record), nil
}

// MapAnonymous maps size bytes of zeroed memory that is private to this process and
// no part of Go's heap. It takes memory page by page as it is touched: neighbouring
// mappings become one for the kernel, which would else fill it with huge pages.
func MapAnonymous(size int, record *Record) (*Memory, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	// EINVAL: a kernel without huge pages.
	if err := unix.Madvise(b, unix.MADV_NOHUGEPAGE); err != nil && err != unix.EINVAL {
		_ = unix.Munmap(b)
		return nil, err
	}
	m := &Memory{bytes: b}
	m.entry = record.add(fmt.Sprintf("map of %d bytes, anonymous", size))
	return m, nil
}

// LocalCID returns what a program that asks for this machine's own CID is told
// (IOCTL_VM_SOCKETS_GET_LOCAL_CID, uapi/linux/vm_sockets.h).
func LocalCID() (uint32, error) {
	number, err := retry(func() (int, error) {
		return unix.Open(VsockDevice, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return 0, err
	}
	defer unix.Close(number)
	return unix.IoctlGetUint32(number, unix.IOCTL_VM_SOCKETS_GET_LOCAL_CID)
}

// OwnsCID reports whether the kernel would take a connection to cid itself: then a
// socket can be bound to it.
func OwnsCID(cid uint32) (bool, error) {
	number, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(number)
	switch err := unix.Bind(number, &unix.SockaddrVM{CID: cid, Port: unix.VMADDR_PORT_ANY}); err {
	case nil:
		return true, nil
	case unix.EADDRNOTAVAIL:
		return false, nil
	default:
		return false, err
	}
}
