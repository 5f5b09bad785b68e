package vhost

import (
	"fmt"
	"sync"
)

// sender is the queue to the kernel. Packets are in slots, used in turn, each a
// buffer of the queue. A packet without payload has a place of its own for each slot;
// one with payload takes bytes of the arena, a ring: the kernel takes packets in
// order, so that the oldest bytes come free first.
type sender struct {
	room chan struct{}

	mu sync.Mutex
	queue
	headers  []byte
	arena    []byte
	headerAt int // offsets of the two in the memory, for descriptors
	arenaAt  int

	slots        []slot
	oldest, free uint64 // slots in turn: those from oldest up to free are in use
	tail, head   uint64 // bytes of the arena in turn: those from tail up to head are
	reserved     int    // slots that no packet with payload takes

	quiet   bool // packets were added, and the kernel was not kicked
	waiting bool // Send has returned false, for a payload of want bytes
	want    int
}

// slot is a packet under way.
type slot struct {
	busy bool   // the kernel has it
	head uint64 // sender.head after it
}

// newSender makes the queue, which is empty.
func newSender(s shape, l layout, memory []byte) sender {
	return sender{
		room:    make(chan struct{}, 1),
		queue:   newQueue(l.tx, memory, s.slots, s.base),
		headers: l.headers.of(memory), headerAt: l.headers.offset,
		arena: l.arena.of(memory), arenaAt: l.arena.offset,
		slots:    make([]slot, s.slots),
		reserved: s.slots / 4,
	}
}

// Send puts down a packet for the kernel, whose payload is a and b together, MaxPayload bytes
// at most. It never waits: false says that there is no room now, and that Room will
// tell. A packet without payload finds room where one with payload does not, up to
// a quarter of all slots: bulk data keeps no reset waiting. a and b are read once.
// The kernel is told by Flush.
//
// Once the instance is closed or broken, packets are dropped, and Send returns true:
// nobody needs to wait. So is one with too much payload, which breaks the instance.
func (i *Instance) Send(h Header, a, b []byte) bool {
	s := &i.tx
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.ended() != nil {
		return true
	}
	size := len(a) + len(b)
	if size > MaxPayload {
		// The kernel would keep its buffer for ever.
		i.fail(fmt.Errorf("payload of %d bytes was to be sent, at most %d can be", size, MaxPayload))
		return true
	}
	if !i.makeRoom(size) {
		return i.ended() != nil
	}
	p := packet{Header: h, srcCID: uint64(i.cid), dstCID: hostCID, size: uint32(size)}
	s.add(&p, a, b)
	s.publish()
	s.quiet = true
	return true
}

// Flush has the kernel look at the packets of the Sends before. It takes them by itself
// while it is at work, so that a row of Sends costs it one wake-up, or none.
func (i *Instance) Flush() {
	s := &i.tx
	s.mu.Lock()
	defer s.mu.Unlock()
	i.tell()
}

// tell is Flush. The caller holds tx.mu.
func (i *Instance) tell() {
	s := &i.tx
	if s.quiet && i.ended() == nil {
		s.quiet = false
		if s.wanted() {
			i.kicked(i.device.txKick())
		}
	}
}

// Room has a value when there is room again after Send returned false, and when the
// instance has ended. It may have one too many, and is for one goroutine to wait for.
func (i *Instance) Room() <-chan struct{} { return i.tx.room }

// kicked takes what a kick has returned.
func (i *Instance) kicked(err error) {
	if err != nil {
		i.fail(fmt.Errorf("kick: %w", err))
	}
}

// makeRoom collects what the kernel has taken and says whether a packet of that size
// fits. If not, the kernel will interrupt. The caller holds tx.mu.
func (i *Instance) makeRoom(size int) bool {
	s := &i.tx
	i.collect()
	for i.ended() == nil {
		if s.fits(size) {
			return true // freed ends interrupts that were allowed
		}
		if s.idle() {
			s.waiting, s.want = true, size
			i.tell()
			return false
		}
		i.collect()
	}
	return false
}

// freed is called when the kernel says that it has taken packets.
func (i *Instance) freed() {
	s := &i.tx
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.ended() != nil {
		return
	}
	i.collect()
	if s.waiting && !s.fits(s.want) {
		return
	}
	s.interrupts(false)
	if s.waiting {
		s.waiting = false
		s.wake()
	}
}

// collect frees the slots of all packets that the kernel has taken. The caller holds
// tx.mu.
func (i *Instance) collect() {
	s := &i.tx
	for {
		id, _, ok, err := s.take()
		if err == nil && ok && (id >= uint32(len(s.slots)) || !s.slots[id].busy) {
			err = fmt.Errorf("send buffer %d was taken, which the kernel does not have", id)
		}
		if err != nil {
			i.fail(err)
			return
		}
		if !ok {
			return
		}
		s.slots[id].busy = false
		s.release()
	}
}

// release frees slots and bytes from the oldest on, up to the first that is busy.
func (s *sender) release() {
	for s.oldest != s.free {
		o := &s.slots[s.oldest%uint64(len(s.slots))]
		if o.busy {
			return
		}
		s.tail = o.head
		s.oldest++
	}
	// Nothing is under way: begin again in front, where memory was touched before.
	s.tail, s.head = 0, 0
}

// fits says whether there is a slot, and bytes, for a packet.
func (s *sender) fits(size int) bool {
	left := len(s.slots) - int(s.free-s.oldest)
	if size == 0 {
		return left > 0
	}
	at := s.at(size)
	return left > s.reserved && at+packetBytes(size)-s.tail <= uint64(len(s.arena))
}

// at is where in the arena, in turn, the next packet goes: it does not go over the end.
func (s *sender) at(size int) uint64 {
	end := uint64(len(s.arena))
	if offset := s.head % end; offset+packetBytes(size) > end {
		return s.head - offset + end
	}
	return s.head
}

// packetBytes is what a packet with payload takes of the arena.
func packetBytes(size int) uint64 { return uint64(headerSize+size+7) &^ 7 }

// add puts a packet that fits into the queue, for publish.
func (s *sender) add(p *packet, a, b []byte) {
	id := int(s.free % uint64(len(s.slots)))
	var place []byte
	var offset int
	if p.size == 0 {
		place, offset = s.headers[id*headerPlace:], s.headerAt+id*headerPlace
	} else {
		at := s.at(int(p.size))
		s.head = at + packetBytes(int(p.size))
		at %= uint64(len(s.arena))
		place, offset = s.arena[at:], s.arenaAt+int(at)
	}
	p.encode(place)
	copy(place[headerSize+copy(place[headerSize:], a):], b)
	s.slots[id] = slot{busy: true, head: s.head}
	s.free++
	s.describe(id, offset, headerSize+int(p.size), 0)
	s.put(id)
}

// wake has who waits for room try again.
func (s *sender) wake() {
	select {
	case s.room <- struct{}{}:
	default:
	}
}
