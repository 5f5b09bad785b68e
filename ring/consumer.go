package ring

import "fmt"

// receiver is the consumer of the rx ring. Its fields belong to the goroutine
// that uses the receive side, but for due, which Flush reads.
//
// Positions, in order:
//
//	consumer <= fetched <= produced <= consumer + size
//	  |           |           +-- as far as the other side is known to have published
//	  |           +-- as far as the bytes are in data and can be peeked
//	  +-- as far as they were discarded, and published by us
//
// Where the pages are read in place, fetched is always produced.
type receiver struct {
	data     []byte // the ring's pages, or a private mirror of them at the same offsets
	mirrored bool   // data is a mirror, filled by copy

	consumer, fetched, produced uint64

	want    uint64 // bytes the other side waits for, 0: none (W2)
	granted answer // the last wish that was granted
	due     due

	speculation speculation
	header      [MovingSize]byte
	segs        [maxSegments]Segment

	unsettled bool // the last Fetch brought only a position caught half stored
}

func (r *receiver) init(cfg Config) {
	r.data = cfg.RxPages
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
	free := len(r.data) - int(r.fetched-r.consumer)
	return appendPages(segs, AreaRx, r.data, r.fetched, min(r.speculation.guess, free), false)
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

// Peek returns what has arrived and was not discarded, as at most two pieces:
// at least min bytes if the other side is known to have published so many, else
// what there is. It never waits, and copies only what Fetch did not bring and
// min needs: then up to 16 pages a Copy, as far as they are published.
//
// The pieces are valid until they are discarded, across a Fetch too. Where the
// pages are read in place, the other side can change them at any time: read
// every byte at most once. The error is the one that ended the End, or wraps
// that of Copy.
func (e *End) Peek(min int) (a, b []byte, err error) {
	if err := e.dead(); err != nil {
		return nil, nil, err
	}
	r := &e.rx
	for r.fetched != r.produced && int(r.fetched-r.consumer) < min {
		segs, n := appendPages(r.segs[:0], AreaRx, r.data, r.fetched, int(r.produced-r.fetched), false)
		if err := e.copy(segs); err != nil {
			return nil, nil, e.fail(fmt.Errorf("fetch data: %w", err))
		}
		r.fetched += uint64(n)
	}
	a, b = pieces(r.data, r.consumer, int(r.fetched-r.consumer))
	return a, b, nil
}

// Discard gives the first n bytes that Peek showed back to the other side, and
// may make a notify due, for Flush. It panics if Peek did not show so many.
// (model/ring.pml: Discard.)
func (e *End) Discard(n int) {
	if e.dead() != nil || n == 0 {
		return
	}
	r := &e.rx
	if n < 0 || uint64(n) > r.fetched-r.consumer {
		panic("ring: Discard of bytes that Peek did not show")
	}
	r.consumer += uint64(n)
	e.own.consumer.publish(r.consumer)
	r.grant()
}

// Drained reports whether every byte that the other side is known to have
// published was discarded.
func (e *End) Drained() bool { return e.rx.consumer == e.rx.produced }
