package sys

import (
	"io"
	"syscall"
	"time"
	"unsafe"
)

// Requests of /dev/xen/evtchn: size of the structure in bits 16 and up, type
// 'E', number.
const (
	requestBindInterdomain = unsafe.Sizeof(bindInterdomain{})<<16 | 'E'<<8 | 1
	requestBindUnbound     = unsafe.Sizeof(bindUnbound{})<<16 | 'E'<<8 | 2
	requestUnbind          = unsafe.Sizeof(portRequest{})<<16 | 'E'<<8 | 3
	requestNotifyPort      = unsafe.Sizeof(portRequest{})<<16 | 'E'<<8 | 4
)

// bindInterdomain is struct ioctl_evtchn_bind_interdomain.
type bindInterdomain struct {
	remoteDomain uint32
	remotePort   uint32
}

// bindUnbound is struct ioctl_evtchn_bind_unbound_port.
type bindUnbound struct {
	remoteDomain uint32
}

// portRequest is struct ioctl_evtchn_unbind and struct ioctl_evtchn_notify.
type portRequest struct {
	port uint32
}

// MaxReadPorts is how many ports one read of /dev/xen/evtchn returns at most: a
// page of them.
const MaxReadPorts = 4096 / 4

// BindUnbound allocates a port for domain domID to bind to and returns it
// (IOCTL_EVTCHN_BIND_UNBOUND_PORT).
func BindUnbound(f *FD, domID uint16) (port uint32, err error) {
	request := bindUnbound{remoteDomain: uint32(domID)}
	n, err := f.ioctl(requestBindUnbound, unsafe.Pointer(&request))
	return uint32(n), err
}

// BindInterdomain binds a new local port to a port of domain domID and returns
// the local one (IOCTL_EVTCHN_BIND_INTERDOMAIN).
func BindInterdomain(f *FD, domID uint16, remotePort uint32) (port uint32, err error) {
	request := bindInterdomain{remoteDomain: uint32(domID), remotePort: remotePort}
	n, err := f.ioctl(requestBindInterdomain, unsafe.Pointer(&request))
	return uint32(n), err
}

// Unbind closes a local port (IOCTL_EVTCHN_UNBIND). Events of it that the
// device has queued are still read afterwards.
func Unbind(f *FD, port uint32) error {
	request := portRequest{port: port}
	_, err := f.ioctl(requestUnbind, unsafe.Pointer(&request))
	return err
}

// NotifyPort sends an event through a local port (IOCTL_EVTCHN_NOTIFY). ENOTCONN:
// f has not bound the port.
func NotifyPort(f *FD, port uint32) error {
	request := portRequest{port: port}
	_, err := f.ioctlAtOnce(requestNotifyPort, unsafe.Pointer(&request))
	return err
}

// ReadPorts waits for events and returns the ports that they came on. The
// device sends no further event of these ports until they are written back.
func ReadPorts(f *FD, ports []uint32) (int, error) {
	// The kernel fills in whole native words, so the slice is the buffer.
	return portCount(f.readWaiting(unsafe.Pointer(unsafe.SliceData(ports)), 4*uintptr(len(ports))))
}

// TakePorts is ReadPorts where events are known to be there, and nobody else reads.
func TakePorts(f *FD, ports []uint32) (int, error) {
	return portCount(f.readAtOnce(unsafe.Pointer(unsafe.SliceData(ports)), 4*uintptr(len(ports))))
}

// portCount turns bytes into ports.
func portCount(n int, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	if n < 4 {
		return 0, io.ErrUnexpectedEOF
	}
	return n / 4, nil
}

// pollFD is struct pollfd.
type pollFD struct {
	fd      int32
	events  int16
	revents int16
}

const pollIn = 1 // POLLIN

// PollPorts waits until ReadPorts would return at once, or for d, and says which.
func PollPorts(f *FD, d time.Duration) (ready bool, err error) {
	p := pollFD{events: pollIn}
	timeout := syscall.NsecToTimespec(int64(d))
	n, err := f.pollAtOnce(&p, &timeout)
	return n > 0, err
}

// WritePort lets further events of port through. A port that f has not bound,
// or that is not held back, is ignored by the kernel.
func WritePort(f *FD, port uint32) error {
	// The kernel reads one native word.
	n, err := f.writeAtOnce(unsafe.Pointer(&port), 4)
	if err == nil && n != 4 {
		return io.ErrShortWrite
	}
	return err
}
