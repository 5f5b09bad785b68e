package ring

import "fmt"

// receiver is the consumer of the rx ring. Its fields belong to the goroutine
// that uses the receive side, but for due, which Flush reads.
//
// Positions, in order:
//
//	discarded <= fetched <= produced <= consumer + size
//	  |            |           +-- as far as the other side is known to have published
//	  |            +-- as far as the bytes are in data and can be peeked
//	  +-- as far as they were discarded
//
// consumer is what we have published: room that the other side may use again. What was
// copied into the mirror is not needed in the ring any more, so the other side fills
// the ring while this side works on what it has: there consumer is fetched, once Peek
// has shown it, but for the last byte, which is kept back until all was discarded. So
// a ring that was taken empty has been dealt with (Taken). Where the pages are read in
// place, fetched is always produced, and consumer is discarded.
type receiver struct {
	data     []byte // the ring's pages, or a private mirror of them at the same offsets
	mirrored bool   // data is a mirror, filled by copy
	own      pair   // our consumer word

	discarded, fetched, produced, consumer uint64

	want    uint64 // bytes the other side waits for, 0: none (W2)
	granted answer // the last wish that was granted
	due     due

	speculation speculation
	header      [MovingSize]byte
	segs        [maxSegments]Segment

	unsettled bool // the last Fetch brought only a position caught half stored
}

func (r *receiver) init(cfg Config, own pair) {
	r.data, r.own = cfg.RxPages, own
	if r.data == nil {
		// Large slices begin at a page in practice, so that a piece of a page
		// lies in one page here too and costs one operation.
		r.data = make([]byte, cfg.RxSize)
		r.mirrored = true
	}
	r.speculation.guess = minGuess
}

// speculate appends segments for bytes that may have been published, after
// those already fetched, and never over bytes not yet discarded.
func (r *receiver) speculate(segs []Segment) ([]Segment, int) {
	if !r.mirrored {
		return segs, 0
	}
	return appendPages(segs, AreaRx, r.data, r.fetched, min(r.speculation.guess, r.vacant()), false)
}

// vacant returns how many bytes the mirror has room for after those fetched.
func (r *receiver) vacant() int { return len(r.data) - int(r.fetched-r.discarded) }

// release gives the room before position pos back to the other side, if it has it not
// yet, and may make a notify due. (model/ring.pml: Discard.)
func (r *receiver) release(pos uint64) {
	if pos <= r.consumer {
		return
	}
	r.consumer = pos
	r.own.publish(pos)
	r.grant()
}

// arrived takes over a producer that was checked and is so many bytes further
// than the last one, and those of the bytes copied beside it that were
// published. The others mean nothing and are fetched again.
func (r *receiver) arrived(moved uint64, copied int) {
	r.produced += moved
	if !r.mirrored {
		r.fetched = r.produced
		return
	}
	used := min(uint64(copied), r.produced-r.fetched)
	r.fetched += used
	r.speculation.learn(copied, int(used), r.fetched != r.produced)
}

// Peek returns what has arrived and was not discarded, as at most two pieces: at least
// that many bytes if the other side is known to have published so many and the ring holds
// them, else what there is. It never waits, and copies only what Fetch did not bring and
// is asked for: then up to 16 pages a Copy, as far as they are published. What was copied
// leaves its room to the other side, which may make a notify due, for Flush.
//
// The pieces are valid until they are discarded, across a Fetch too. Where the
// pages are read in place, the other side can change them at any time: read
// every byte at most once. The error is the one that ended the End, or wraps
// that of Copy.
func (e *End) Peek(least int) (a, b []byte, err error) {
	if err := e.dead(); err != nil {
		return nil, nil, err
	}
	r := &e.rx
	for r.fetched != r.produced && int(r.fetched-r.discarded) < least && r.vacant() > 0 {
		segs, n := appendPages(r.segs[:0], AreaRx, r.data, r.fetched, min(int(r.produced-r.fetched), r.vacant()), false)
		if err := e.copy(segs); err != nil {
			return nil, nil, e.fail(fmt.Errorf("fetch data: %w", err))
		}
		if err := e.dead(); err != nil {
			return nil, nil, err
		}
		r.fetched += uint64(n)
	}
	if r.mirrored && r.fetched != r.discarded {
		r.release(r.fetched - 1)
	}
	a, b = pieces(r.data, r.discarded, int(r.fetched-r.discarded))
	return a, b, nil
}

// Discard ends the use of the first n bytes that Peek showed, and may make a notify
// due, for Flush. It panics if there are not so many.
func (e *End) Discard(n int) {
	if e.dead() != nil || n == 0 {
		return
	}
	r := &e.rx
	if n < 0 || uint64(n) > r.fetched-r.discarded {
		panic("ring: Discard of bytes that Peek did not show")
	}
	r.discarded += uint64(n)
	r.release(r.discarded)
}

// Drained reports whether every byte that the other side is known to have
// published was discarded.
func (e *End) Drained() bool { return e.rx.discarded == e.rx.produced }
