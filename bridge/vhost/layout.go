package vhost

// shape is how large an instance is.
type shape struct {
	buffers    int    // of the receive queue, a power of two
	bufferSize int    // bytes of each, header included
	slots      int    // packets under way to the kernel, a power of two
	arena      int    // bytes for those of them that have payload; one packet fits
	base       uint16 // the first index of both queues
}

// standardShape is for one peer. The kernel splits what is longer than a buffer.
// Slots outnumber the packets of full size that the arena holds by far: what has no
// payload needs no arena.
func standardShape() shape {
	return shape{buffers: 32, bufferSize: 32 << 10, slots: 256, arena: 256 << 10}
}

// span is a part of the memory.
type span struct{ offset, size int }

func (s span) of(memory []byte) []byte {
	return memory[s.offset : s.offset+s.size : s.offset+s.size]
}

// area is where one virtqueue lies. The sizes are those of struct vring for a queue
// without event indexes; desc is at a multiple of 16, the others of 4.
type area struct{ desc, avail, used span }

// layout is where everything lies in the memory of an instance. What a packet
// without payload touches is together in the first few pages.
type layout struct {
	rx, tx  area
	headers span // of packets without payload, one place for each slot
	buffers span // of the receive queue
	arena   span // packets with payload
	size    int
}

const (
	pageSize    = 4096 // what sections are aligned to; larger pages do no harm
	descSize    = 16   // struct vring_desc
	headerPlace = (headerSize + 7) &^ 7
)

func (s shape) layout() (l layout) {
	place := func(size, align int) span {
		at := (l.size + align - 1) &^ (align - 1)
		l.size = at + size
		return span{at, size}
	}
	ring := func(entries int) area {
		return area{
			desc:  place(descSize*entries, descSize),
			avail: place(4+2*entries, 4),
			used:  place(4+8*entries, 4),
		}
	}
	l.rx, l.tx = ring(s.buffers), ring(s.slots)
	l.headers = place(headerPlace*s.slots, 8)
	l.buffers = place(s.buffers*s.bufferSize, pageSize)
	l.arena = place(s.arena, pageSize)
	l.size = (l.size + pageSize - 1) &^ (pageSize - 1)
	return l
}
