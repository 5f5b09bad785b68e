package ring_test

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// Rule R1: whoever writes into our header changes nothing for us.
func TestOwnWordsOverwrittenByThePeerHaveNoEffect(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		run := func(scribble bool) (log []byte) {
			from, to := d.pair(t, size)
			honest := make([]byte, 64)
			nonsense := bytes.Repeat([]byte{0xA5}, 64)
			step := func(s *side) {
				if scribble { // between two steps; the header is whole when the peer reads it
					copy(honest, s.header[64:128])
					copy(s.header[64:128], nonsense)
				}
			}
			mend := func(s *side) { // what was published since stays
				for at := 0; scribble && at < 64; at += 8 {
					if word := s.header[64+at:][:8]; bytes.Equal(word, nonsense[:8]) {
						copy(word, honest[at:])
					}
				}
			}
			for i := range 50 {
				step(to)
				news := to.fetch(t)
				got := to.peek(t, 700)
				to.Discard(len(got))
				mend(to)
				log = append(append(log, got...), map[bool]byte{true: 1}[news])
				step(from)
				from.fetch(t)
				a, b := from.Reserve(100 * (i % 9))
				n := copy(a, pattern(i, len(a)))
				copy(b, pattern(i+n, len(b)))
				if err := from.Commit(len(a) + len(b)); err != nil {
					t.Fatal(err)
				}
				mend(from)
				log = append(log, from.header[64:128]...)
				log = append(log, to.header[64:128]...)
			}
			return log
		}
		if !bytes.Equal(run(false), run(true)) {
			t.Error("a run with scribbled words differs from a clean one")
		}
	})
}

// Rule R1: a consumer that a peer has moved for us, to where it is about to be, is
// published and told all the same.
func TestOwnConsumerForgedIsPublishedAllTheSame(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		from.send(t, pattern(0, 100))
		from.Want(size)
		to.fetch(t)
		binary.LittleEndian.PutUint64(to.header[consumerWord:], 100)
		to.take(t, 100)
		to.notifies(t, "all is free", 0, 1)
		if !from.fetch(t) || from.Free() != size {
			t.Errorf("%d bytes free, want %d", from.Free(), size)
		}
	})
}
