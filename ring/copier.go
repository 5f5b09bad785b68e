package ring

// Area names a part of the other side's memory that is reached by copy.
type Area uint8

const (
	// AreaHeader is the other side's header page.
	AreaHeader Area = iota
	// AreaRx is the data pages that we receive from, owned by the other side.
	AreaRx
	// AreaTx is the data pages that we send through, where the other side owns
	// them too: to-front, seen from the backend.
	AreaTx
)

// Segment is one piece of a copy.
type Segment struct {
	Area   Area
	Offset int    // in bytes within the area; no segment crosses a multiple of 4096
	Local  []byte // never empty; lies in its own page as the piece lies in the foreign one, header words apart
	Write  bool   // copy Local into the area, rather than the area into Local
}

// Copier reaches the other side's memory.
type Copier interface {
	// Copy executes the segments in order, and returns nil only if all were
	// done. There are at most 16 of them: what one hypercall takes. The segments
	// and their memory belong to the End and must not be kept. Fetch and Peek
	// call it from one goroutine while Commit may call it from another.
	Copy(segs []Segment) error
}

// maxSegments is how many operations Linux's gntdev hands to Xen in one
// hypercall (GNTDEV_COPY_BATCH).
const maxSegments = 16

// appendPages appends segments for the n bytes from position pos on of a ring,
// whose local memory is buf, until maxSegments are reached. It returns how many
// bytes they cover.
func appendPages(segs []Segment, area Area, buf []byte, pos uint64, n int, write bool) ([]Segment, int) {
	done := 0
	for done < n && len(segs) < maxSegments {
		off := offset(buf, pos+uint64(done))
		k := min(n-done, pageSize-off%pageSize)
		segs = append(segs, Segment{Area: area, Offset: off, Local: buf[off : off+k], Write: write})
		done += k
	}
	return segs, done
}

// pieces returns the n bytes from position pos on of the ring buf, n at most
// its size, as one piece or, where they wrap, two.
func pieces(buf []byte, pos uint64, n int) (a, b []byte) {
	off := offset(buf, pos)
	first := min(n, len(buf)-off)
	a = buf[off : off+first : off+first]
	if n > first {
		b = buf[: n-first : n-first]
	}
	return a, b
}

// offset returns where position pos lies in a ring, whose size is a power of two.
func offset(buf []byte, pos uint64) int { return int(pos & uint64(len(buf)-1)) }
