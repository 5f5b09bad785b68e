// Package vhost plays the guest's side of one /dev/vhost-vsock: what the kernel takes
// for a virtual machine with a CID is this process.
package vhost

// Header is virtio_vsock_hdr but for the CIDs and the length (uapi/linux/virtio_vsock.h).
// Source and destination ports are as on the wire.
type Header struct {
	Src, Dst uint32
	Type, Op uint16
	Flags    uint32
	BufAlloc uint32
	FwdCnt   uint32
}

// Instance is one CID at which the kernel's sockets find this process. Receive is one
// goroutine's; Send another's or any's, one at a time.
type Instance struct{}

// Open makes an instance with that CID.
func Open(cid uint32) (*Instance, error) { panic("not yet") }

// Receive waits for the next packet that the kernel sends to the CID. The payload is
// valid until the next Receive.
func (i *Instance) Receive() (Header, []byte, error) { panic("not yet") }

// Send gives the kernel a packet, whose payload is a and b together. It never waits:
// false says that there is no room now, and that Room will tell. a and b are read once.
func (i *Instance) Send(h Header, a, b []byte) bool { panic("not yet") }

// Room has a value when there is room again after Send returned false.
func (i *Instance) Room() <-chan struct{} { panic("not yet") }

// Close ends it: every socket connected to the CID sees ECONNRESET, and Receive ends. It
// waits for the kernel, some 20 ms.
func (i *Instance) Close() error { panic("not yet") }
