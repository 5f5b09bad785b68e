package afvsocktest

import (
	"os"
	"sync"
	"syscall"

	"xvsock/bridge/vhost"
	"xvsock/mux"
)

// slots is how many packets the ring of a device holds, and how many answers may wait
// before the kernel takes no more of them.
const slots = 128

// Device is an instance of vhost-vsock. It has the methods of a vhost.Instance, which
// say what they do.
type Device struct {
	k    *Kernel
	cid  uint32
	room chan struct{} // capacity 1

	// What follows is guarded by Kernel.mu.

	ready   sync.Cond // out has a packet, or closed
	out     []packet  // for Receive
	replies int       // RESPONSEs and RSTs in out
	in      []packet  // sent, and not looked at yet
	full    bool      // Send has returned false
	stopped bool
	closed  bool
	last    []byte // payload of the last Receive
}

type packet struct {
	h       vhost.Header
	payload []byte
}

// Open makes the instance of a CID: EADDRINUSE if there is one.
func (k *Kernel) Open(cid uint32) (*Device, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.refuse != nil:
		return nil, k.refuse
	case cid < 3:
		return nil, syscall.EINVAL
	case k.devices[cid] != nil:
		return nil, vhost.ErrInUse
	}
	d := &Device{k: k, cid: cid, room: make(chan struct{}, 1)}
	d.ready.L = &k.mu
	k.devices[cid] = d
	return d, nil
}

// Stop lets the kernel take nothing that is sent to a CID, or everything again.
func (k *Kernel) Stop(cid uint32, stopped bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d := k.devices[cid]; d != nil {
		d.stopped = stopped
		d.take()
	}
}

// Receive waits for the next packet of the CID's sockets.
func (d *Device) Receive() (vhost.Header, []byte, error) {
	d.k.mu.Lock()
	defer d.k.mu.Unlock()
	for len(d.out) == 0 && !d.closed {
		d.ready.Wait()
	}
	if d.closed {
		return vhost.Header{}, nil, os.ErrClosed
	}
	p := d.out[0]
	d.out = d.out[1:]
	if isReply(p.h) {
		d.replies--
		d.take()
	}
	clear(d.last) // it is not valid any more
	d.last = p.payload
	return p.h, p.payload, nil
}

// Send gives the CID's sockets a packet; false: there is no room.
func (d *Device) Send(h vhost.Header, a, b []byte) bool {
	d.k.mu.Lock()
	defer d.k.mu.Unlock()
	switch {
	case d.closed:
		return true
	case len(d.in) == slots:
		d.full = true
		return false
	}
	d.in = append(d.in, packet{h, append(append([]byte(nil), a...), b...)})
	d.take()
	return true
}

// Flush has nothing to do: the sockets see each packet at once.
func (d *Device) Flush() {}

// Room has a value when there is room again.
func (d *Device) Room() <-chan struct{} { return d.room }

// Close resets every socket that is connected to the CID. Those that connect are left
// to their time-out.
func (d *Device) Close() error {
	d.k.mu.Lock()
	defer d.k.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	delete(d.k.devices, d.cid)
	for _, c := range d.k.conns {
		if c.dev == d && !c.connecting {
			c.end(syscall.ECONNRESET)
		}
	}
	d.ready.Broadcast()
	return nil
}

// take looks at what was sent, in order. The caller holds Kernel.mu.
func (d *Device) take() {
	for len(d.in) > 0 && !d.stopped && d.replies < slots {
		p := d.in[0]
		d.in = d.in[1:]
		d.k.receive(d, p.h, p.payload)
	}
	if d.full && len(d.in) < slots {
		d.full = false
		select {
		case d.room <- struct{}{}:
		default:
		}
	}
}

// emit sends a packet to whoever plays the CID. The caller holds Kernel.mu.
func (d *Device) emit(h vhost.Header, payload []byte) {
	if d.closed {
		return
	}
	if isReply(h) {
		d.replies++
	}
	d.out = append(d.out, packet{h, payload})
	d.ready.Signal()
}

func isReply(h vhost.Header) bool { return h.Op == mux.OpResponse || h.Op == mux.OpReset }
