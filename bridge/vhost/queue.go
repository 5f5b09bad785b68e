package vhost

import (
	"encoding/binary"
	"fmt"
)

// Flags (uapi/linux/virtio_ring.h).
const (
	descWrite   = 2 // VRING_DESC_F_WRITE: the kernel writes the buffer
	noInterrupt = 1 // VRING_AVAIL_F_NO_INTERRUPT
	noNotify    = 1 // VRING_USED_F_NO_NOTIFY
)

// queue is the driver's side of a split virtqueue without event indexes. A buffer is
// one descriptor, and its id is the descriptor's index.
//
//	            avail: flags idx ring[]             driver writes, kernel reads
//	put, publish ------------------------> kernel
//	            used:  flags idx ring[]{id len}     kernel writes, driver reads
//	take        <------------------------- kernel
//
//	seen <= filled <= published <= next             indexes, 16 bits, they wrap
//	  |       |          |          `- put, the kernel may not look yet
//	  |       |          `- the kernel may use these
//	  |       `- the kernel has used these
//	  `- take has returned these
//
// To sleep, the driver allows interrupts and looks again; the kernel adds to used and
// then looks at the flag. With a full barrier between the two steps at both sides,
// one of them sees the other.
type queue struct {
	desc, avail, used []byte
	size              uint16 // a power of two

	next, published, filled, seen uint16
	silent                        bool // interrupts are not wanted
}

// newQueue begins at index base without interrupts.
func newQueue(a area, memory []byte, size int, base uint16) queue {
	q := queue{
		desc: a.desc.of(memory), avail: a.avail.of(memory), used: a.used.of(memory),
		size: uint16(size), next: base, published: base, filled: base, seen: base,
		silent: true,
	}
	store(q.used, 0, uint32(base)<<16) // the kernel goes on from there
	q.show()
	return q
}

// describe sets what buffer id is: size bytes at offset of the memory.
func (q *queue) describe(id, offset, size int, flags uint16) {
	d := q.desc[descSize*id:]
	binary.LittleEndian.PutUint64(d, uint64(offset))
	binary.LittleEndian.PutUint32(d[8:], uint32(size))
	binary.LittleEndian.PutUint16(d[12:], flags)
	binary.LittleEndian.PutUint16(d[14:], 0) // no next
}

// put adds buffer id for the kernel, which sees it after publish.
func (q *queue) put(id int) {
	binary.LittleEndian.PutUint16(q.avail[4+2*int(q.next%q.size):], uint16(id))
	q.next++
}

// publish lets the kernel see what was put. It returns whether it wants a kick.
func (q *queue) publish() (kick bool) {
	q.published = q.next
	q.show()
	return q.wanted()
}

// wanted returns whether the kernel wants a kick for what was published.
func (q *queue) wanted() bool { return load(q.used, 0)&noNotify == 0 }

// interrupts says whether the kernel shall tell when it has used a buffer.
func (q *queue) interrupts(wanted bool) {
	if q.silent == wanted {
		q.silent = !wanted
		q.show()
	}
}

// idle allows interrupts, looks again, and returns whether there still is nothing to
// take: then an interrupt will come for whatever comes.
func (q *queue) idle() bool {
	q.interrupts(true)
	return uint16(load(q.used, 0)>>16) == q.seen
}

// show stores flags and index, which are one word.
func (q *queue) show() {
	w := uint32(q.published) << 16
	if q.silent {
		w |= noInterrupt
	}
	store(q.avail, 0, w)
}

// take returns the next buffer that the kernel has used, and how many bytes it says to
// have written, neither of them checked; ok is false if there is none. An error means
// that the index is nonsense (rule R3).
func (q *queue) take() (id, length uint32, ok bool, err error) {
	if q.seen == q.filled {
		filled := uint16(load(q.used, 0) >> 16)
		if filled-q.seen > q.published-q.seen {
			return 0, 0, false, fmt.Errorf("used.idx is %d with %d buffers from %d on", filled, q.published-q.seen, q.seen)
		}
		if q.filled = filled; q.seen == filled {
			return 0, 0, false, nil
		}
	}
	entry := 4 + 8*int(q.seen%q.size)
	q.seen++
	return load(q.used, entry), load(q.used, entry+4), true, nil
}
