package vhost

import (
	"encoding/binary"
	"os"
	"sync"
	"testing"
)

// fake is the kernel's side of an instance, which works the queues as vhost does: it
// knows them by the layout of virtio_ring.h alone.
type fake struct {
	instance       *Instance
	memory         []byte
	rx, tx         deviceQueue
	rxKick, txKick *fakeEvent
	rxCall, txCall *fakeEvent
	fault          *fakeEvent

	mu      sync.Mutex
	stopped bool
	unmaps  int
}

// deviceQueue is the device's side of a split virtqueue.
type deviceQueue struct {
	desc, avail, used []byte
	size              uint16
	next              uint16 // of avail
	done              uint16 // used.idx
	silent            bool   // used.flags: no kicks are wanted
	call              *fakeEvent
}

// fakeEvent is an eventfd.
type fakeEvent struct {
	count  chan struct{}
	closed chan struct{}
	once   sync.Once
	mu     sync.Mutex
	total  int // of Signal
}

func newFakeEvent() *fakeEvent {
	return &fakeEvent{count: make(chan struct{}, 1), closed: make(chan struct{})}
}

func (e *fakeEvent) Wait() error {
	select {
	case <-e.closed:
		return os.ErrClosed
	default:
	}
	select {
	case <-e.count:
		return nil
	case <-e.closed:
		return os.ErrClosed
	}
}

func (e *fakeEvent) Signal() error {
	select {
	case <-e.closed:
		return os.ErrClosed
	default:
	}
	e.mu.Lock()
	e.total++
	e.mu.Unlock()
	select {
	case e.count <- struct{}{}:
	default:
	}
	return nil
}

func (e *fakeEvent) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

func (e *fakeEvent) signals() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.total
}

// testCID is the CID of instances at a fake.
const testCID = 7

// newFake makes an instance at a fake; it does not run yet.
func newFake(s shape) (*Instance, *fake) { return newFakeIn(s, make([]byte, s.layout().size)) }

// newFakeIn is newFake with its memory in a given place.
func newFakeIn(s shape, memory []byte) (*Instance, *fake) {
	l := s.layout()
	k := &fake{
		memory: memory,
		rxKick: newFakeEvent(), txKick: newFakeEvent(),
		rxCall: newFakeEvent(), txCall: newFakeEvent(), fault: newFakeEvent(),
	}
	i := newInstance(testCID, s, device{
		memory: k.memory,
		rxKick: k.rxKick.Signal, txKick: k.txKick.Signal,
		rxCall: k.rxCall, txCall: k.txCall, fault: k.fault,
		stop: k.stop, unmap: k.unmap,
	})
	k.instance = i
	k.rx = newDeviceQueue(k.memory, l.rx, s.base, k.rxCall)
	k.tx = newDeviceQueue(k.memory, l.tx, s.base, k.txCall)
	return i, k
}

// running is newFake and start, for the time of a test.
func running(t *testing.T, s shape) (*Instance, *fake) {
	t.Helper()
	i, k := newFake(s)
	i.start()
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return i, k
}

func newDeviceQueue(memory []byte, a area, base uint16, call *fakeEvent) deviceQueue {
	return deviceQueue{
		desc: a.desc.of(memory), avail: a.avail.of(memory), used: a.used.of(memory),
		size: uint16(a.desc.size / 16), next: base, done: base, call: call,
	}
}

func (k *fake) stop() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	_ = k.rxKick.Close()
	_ = k.txKick.Close()
	return nil
}

// poison is what memory holds after unmap.
const poison = 0xDD

// unmap writes all the memory, so that the race detector sees who still uses it, and a
// test its use later.
func (k *fake) unmap() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unmaps++
	if !k.stopped {
		panic("unmapped while the kernel uses it")
	}
	for n := range k.memory {
		k.memory[n] = poison
	}
	return nil
}

func (k *fake) unmapped() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.unmaps
}

// pop takes the next buffer that is available.
func (q *deviceQueue) pop() (id uint16, at, size int, ok bool) {
	if uint16(load(q.avail, 0)>>16) == q.next {
		return 0, 0, 0, false
	}
	id = binary.LittleEndian.Uint16(q.avail[4+2*int(q.next%q.size):])
	q.next++
	d := q.desc[16*int(id):]
	if binary.LittleEndian.Uint16(d[12:])&^2 != 0 {
		panic("a descriptor with flags that are not for a single buffer")
	}
	return id, int(binary.LittleEndian.Uint64(d)), int(binary.LittleEndian.Uint32(d[8:])), true
}

// push returns a buffer, and interrupts if the driver wants that.
func (q *deviceQueue) push(id, length uint32) {
	entry := 4 + 8*int(q.done%q.size)
	store(q.used, entry, id)
	store(q.used, entry+4, length)
	q.done++
	q.show()
	if load(q.avail, 0)&1 == 0 {
		_ = q.call.Signal()
	}
}

func (q *deviceQueue) show() {
	w := uint32(q.done) << 16
	if q.silent {
		w |= 1
	}
	store(q.used, 0, w)
}

// filled is how many buffers are available to the kernel.
func (k *fake) filled() int { return int(uint16(load(k.tx.avail, 0)>>16) - k.tx.next) }

// kicks says whether kicks are wanted.
func (q *deviceQueue) kicks(wanted bool) {
	q.silent = !wanted
	q.show()
}

// deliver gives the instance a packet, as vhost does; false if no buffer is available.
func (k *fake) deliver(p packet, payload []byte) bool {
	id, at, size, ok := k.rx.pop()
	if !ok {
		return false
	}
	p.size = uint32(len(payload))
	b := k.memory[at : at+size]
	p.encode(b)
	if copy(b[headerSize:], payload) != len(payload) {
		panic("the test's packet is longer than a buffer")
	}
	k.rx.push(uint32(id), uint32(headerSize+len(payload)))
	return true
}

// take takes a packet that the instance has sent; false if there is none.
func (k *fake) take() (p packet, payload []byte, ok bool) {
	id, p, payload, ok := k.look()
	if ok {
		k.tx.push(uint32(id), 0)
	}
	return p, payload, ok
}

// look is take without returning the buffer.
func (k *fake) look() (id uint16, p packet, payload []byte, ok bool) {
	id, at, size, ok := k.tx.pop()
	if !ok {
		return 0, packet{}, nil, false
	}
	b := k.memory[at : at+size]
	p = decodePacket(b)
	if int(p.size) != size-headerSize {
		panic("the length of a packet is not that of its buffer")
	}
	return id, p, append([]byte(nil), b[headerSize:]...), true
}

// fromKernel is a packet that arrives at testCID.
func fromKernel(op uint16) packet {
	return packet{srcCID: hostCID, dstCID: testCID, Header: Header{Src: 1000, Dst: 80, Type: typeStream, Op: op}}
}
