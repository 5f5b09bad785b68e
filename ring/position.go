package ring

// A position counts the bytes that ever went through a ring; it only grows, and
// the place in the ring is the position modulo the size. It is shared as a
// pair: the value and, in the next word, its bitwise complement.
//
// Xen may copy a word byte by byte, in ascending order, so a copy that runs
// beside a store can see half of it. The owner therefore stores the complement
// first and the reader reads the value first. Then the complement that a reader
// sees is never older than any byte of the value that it saw, and two that
// agree are a position that was published:
//
//   - Only the lowest byte changed beside the copy: the complement's byte is
//     either of the same store, or it disagrees.
//   - Two bytes changed: the value's upper byte and the complement's agree, and
//     positions only grow, so no upper byte was different in between; the lower
//     byte of the complement belongs to that upper byte.
//   - Three bytes changed, so that an upper byte could come round again: the
//     position has to grow by more than 64 KiB - 256 while these 16 bytes are
//     copied, and pause at the right places. Then the value may be ahead of
//     the truth by less than 256 bytes. The range check still holds, and the
//     sequence number of the next frame does not.
//
// Mapped words are loaded whole, and two that agree are exact. A pair that
// disagrees is "not yet": the old value stays and the word is fetched again. A
// pair that agrees and is out of range is a lie. (model/ring.pml: publish,
// fetchPair, COMPLEMENT_LAST.)
type pair struct {
	value, complement *uint64
}

// publish stores a position of ours. What was stored before it, data above
// all, is visible to whoever sees the value.
func (p pair) publish(n uint64) {
	storeLE64(p.complement, ^n)
	storeLE64(p.value, n)
}

// load fetches a mapped pair once, in the order that publish relies on.
func (p pair) load() fetched {
	v := loadLE64(p.value)
	return fetched{value: v, complement: loadLE64(p.complement)}
}

// fetched is a foreign pair as one fetch saw it, not checked yet.
type fetched struct {
	value, complement uint64
}

// check returns how far the position is beyond known, the last one that was
// believed, and false for "not yet". The most that an honest peer can have
// moved on is limit.
func (f fetched) check(word string, known, limit uint64) (moved uint64, settled bool, err error) {
	if f.complement != ^f.value {
		return 0, false, nil
	}
	// Unsigned: a position that moved backwards is far beyond every limit.
	moved = f.value - known
	switch {
	case moved <= limit:
		return moved, true, nil
	case known-f.value <= MaxSize:
		return 0, false, &LieError{word, f.value, "moved backwards"}
	default:
		return 0, false, &LieError{word, f.value, "beyond what the ring allows"}
	}
}
