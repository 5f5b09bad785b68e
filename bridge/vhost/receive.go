package vhost

import "fmt"

// receiver is the queue from the kernel: its buffers are lent to the kernel, and one
// of them, with a packet in it, to the caller of Receive.
type receiver struct {
	queue
	memory  []byte // of all buffers
	size    int    // of one
	lent    []bool // the kernel has it
	held    int    // the buffer that the caller reads, or none
	spare   []int  // that nobody has; as many as fit are lent at once
	entered bool   // see Instance.enter
}

const none = -1

// newReceiver makes the queue and gives the kernel all buffers.
func newReceiver(s shape, l layout, memory []byte) receiver {
	r := receiver{
		queue:  newQueue(l.rx, memory, s.buffers, s.base),
		memory: l.buffers.of(memory),
		size:   s.bufferSize,
		lent:   make([]bool, s.buffers),
		held:   none,
		spare:  make([]int, 0, max(s.buffers/4, 1)),
	}
	for id := range s.buffers {
		r.describe(id, l.buffers.offset+id*s.bufferSize, s.bufferSize, descWrite)
		r.lend(id)
	}
	r.publish()
	return r
}

// lend gives the kernel a buffer, with publish.
func (r *receiver) lend(id int) {
	r.lent[id] = true
	r.put(id)
}

// Receive waits for the next packet that the kernel sends to the CID. The payload is
// valid until the next Receive. Packets that are not for the CID, or of an unknown
// kind, are passed over.
//
// After Close the error is os.ErrClosed, and ErrBroken after a fault; then every later
// call returns it too.
func (i *Instance) Receive() (Header, []byte, error) {
	if err := i.enter(); err != nil {
		return Header{}, nil, err
	}
	for {
		i.giveBack()
		p, payload, err := i.next()
		if err != nil {
			i.fail(err) // does nothing if it has ended before
		}
		if err := i.ended(); err != nil {
			i.leave()
			return Header{}, nil, err
		}
		if p.known(i.cid) {
			return p.Header, payload, nil
		}
		i.dropped.Add(1)
	}
}

// giveBack takes back the buffer that the caller has read, and lends the kernel a few
// at a time, because it may want a kick. It has enough until then.
func (i *Instance) giveBack() {
	r := &i.rx
	if r.held == none {
		return
	}
	r.spare = append(r.spare, r.held)
	r.held = none
	if len(r.spare) < cap(r.spare) {
		return
	}
	for _, id := range r.spare {
		r.lend(id)
	}
	r.spare = r.spare[:0]
	if r.publish() {
		i.kicked(i.device.rxKick())
	}
}

// next waits for a packet, or for the end of the instance. The kernel does not
// interrupt as long as there are packets.
func (i *Instance) next() (packet, []byte, error) {
	r := &i.rx
	for {
		id, length, ok, err := r.take()
		switch {
		case err != nil:
			return packet{}, nil, err
		case ok:
			r.interrupts(false)
			return r.open(id, length)
		case r.idle():
			if err := i.ended(); err != nil {
				return packet{}, nil, err
			}
			if err := i.device.rxCall.Wait(); err != nil {
				return packet{}, nil, err
			}
		}
	}
}

// open returns the packet that the kernel says to have put into buffer id.
func (r *receiver) open(id, length uint32) (packet, []byte, error) {
	if id >= uint32(len(r.lent)) || !r.lent[id] {
		return packet{}, nil, fmt.Errorf("receive buffer %d was filled, which the kernel does not have", id)
	}
	if length < headerSize || length > uint32(r.size) {
		return packet{}, nil, fmt.Errorf("%d bytes in a receive buffer of %d", length, r.size)
	}
	r.lent[id], r.held = false, int(id)
	b := r.memory[int(id)*r.size:][:length]
	p := decodePacket(b)
	if p.size != length-headerSize {
		return packet{}, nil, fmt.Errorf("packet of %d bytes says that its payload has %d", length, p.size)
	}
	return p, b[headerSize:], nil
}
