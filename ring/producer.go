package ring

import (
	"fmt"
	"sync/atomic"
)

// sender is the producer of the tx ring. Its fields belong to the goroutine
// that uses the send side, but for the atomic ones: Fetch, on the receive side,
// checks the other side's consumer against produced and stores it in consumed.
//
//	consumed <= produced <= consumed + size
type sender struct {
	data     []byte // the ring's pages, or a private mirror of them at the same offsets
	mirrored bool   // data is a mirror, copied out before it is published

	produced atomic.Uint64 // as far as we have published
	consumed atomic.Uint64 // as far as the other side is known to have discarded

	want     atomic.Int64 // bytes of the last Want, 0: none
	reserved int          // bytes of the last Reserve, 0: none
	due      due
	segs     [maxSegments]Segment
}

func (s *sender) init(cfg Config) {
	s.data = cfg.TxPages
	if s.data == nil {
		s.data = make([]byte, cfg.TxSize)
		s.mirrored = true
	}
}

// Free returns how many bytes Reserve has room for.
func (e *End) Free() int {
	s := &e.tx
	return len(s.data) - int(s.produced.Load()-s.consumed.Load())
}

// Reserve returns room for exactly n bytes as at most two pieces, or nil if
// there is not so much, n is not positive, or the End is dead. The room is
// write-only and valid until Commit; a second Reserve replaces the first.
func (e *End) Reserve(n int) (a, b []byte) {
	s := &e.tx
	s.reserved = 0
	produced := s.produced.Load()
	free := len(s.data) - int(produced-s.consumed.Load())
	if n <= 0 || n > free || e.dead() != nil {
		return nil, nil
	}
	s.reserved = n
	return pieces(s.data, produced, n)
}

// Commit publishes the first n bytes of the last Reserve, and makes a notify
// due, for Flush. If the other side owns the pages it copies the bytes there
// first, 16 pages a Copy, and publishes after the last Copy returned. It
// panics if not so many were reserved. The error is the one that ended the End,
// or wraps that of Copy. (model/ring.pml: Commit.)
func (e *End) Commit(n int) error {
	if err := e.dead(); err != nil {
		return err
	}
	s := &e.tx
	if n < 0 || n > s.reserved {
		panic("ring: Commit of bytes that were not reserved")
	}
	s.reserved = 0
	if n == 0 {
		return nil
	}
	produced := s.produced.Load()
	if s.mirrored {
		if err := e.copyOut(produced, n); err != nil {
			return e.fail(fmt.Errorf("copy data out: %w", err))
		}
		if err := e.dead(); err != nil {
			return err
		}
	}
	produced += uint64(n)
	// Private before shared: an honest answer to the shared word, fetched on
	// the receive side, is never beyond the private one.
	s.produced.Store(produced)
	e.own.producer.publish(produced)
	s.due.store()
	return nil
}

// copyOut copies n bytes from position pos on of the mirror into the ring.
func (e *End) copyOut(pos uint64, n int) error {
	s := &e.tx
	for n > 0 {
		segs, done := appendPages(s.segs[:0], AreaTx, s.data, pos, n, true)
		if err := e.copy(segs); err != nil {
			return err
		}
		pos += uint64(done)
		n -= done
	}
	return nil
}

// Taken reports whether the other side has discarded every byte that was
// committed, as far as the last Fetch knows. It may be called by any goroutine.
func (e *End) Taken() bool { return e.tx.consumed.Load() == e.tx.produced.Load() }

// Granted reports whether the last Want was for room, and so much is free as far as the
// last Fetch knows. It may be called by any goroutine.
func (e *End) Granted() bool { return e.tx.granted(e.tx.consumed.Load()) }

// granted is Granted where the other side has discarded everything before consumed.
func (s *sender) granted(consumed uint64) bool {
	want := s.want.Load()
	return want > 0 && int64(len(s.data))-int64(s.produced.Load()-consumed) >= want
}

// Want publishes that n bytes are wanted free in the tx ring, and makes a
// notify due, for Flush; the other side then notifies once so much is free. 0
// takes the wish back, which nobody needs to be told. More than the ring holds
// is asked as the whole ring. (model/ring.pml: Want.)
func (e *End) Want(n int) {
	if e.dead() != nil {
		return
	}
	n = min(max(n, 0), len(e.tx.data))
	e.tx.want.Store(int64(n))
	storeLE32(e.own.want, uint32(n))
	if n > 0 {
		e.tx.due.store()
	}
}
