package ring_test

import (
	"encoding/binary"
	"testing"

	"xvsock/ring"
)

// notifies flushes and compares how many notifies went out for data and space.
func (s *side) notifies(t *testing.T, when string, tx, rx int64) {
	t.Helper()
	gotTx, gotRx := s.flush(t)
	if gotTx != tx || gotRx != rx {
		t.Errorf("%s: %d notifies of data and %d of space, want %d and %d", when, gotTx, gotRx, tx, rx)
	}
}

func TestW1CommitAndWantNotifyOnce(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		from.notifies(t, "nothing done", 0, 0)
		from.send(t, pattern(0, 10))
		from.send(t, pattern(10, 10))
		from.notifies(t, "two frames committed", 1, 0)
		from.notifies(t, "nothing since", 0, 0)
		from.Want(100)
		from.notifies(t, "space wanted", 1, 0)
		from.Want(100)
		from.notifies(t, "the same space wanted again", 1, 0)
		from.Want(0)
		from.notifies(t, "no space wanted", 0, 0)
		to.fetch(t)
		to.peek(t, 20)
		to.Discard(20)
		to.notifies(t, "space freed that nobody wants", 0, 0)
	})
}

func TestWantIsPublishedUpToTheRing(t *testing.T) {
	from, _ := directions[0].pair(t, size)
	for n, want := range map[int]uint32{0: 0, 1: 1, size: size, size + 1: size, -1: 0} {
		from.Want(n)
		if got := binary.LittleEndian.Uint32(from.header[wantWord:]); got != want {
			t.Errorf("Want(%d) publishes %d, want %d", n, got, want)
		}
	}
}

func TestW2NotifiesAtTheFetchIfThatMuchIsFree(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		from.send(t, pattern(0, size-100))
		from.Want(100)
		to.fetch(t)
		to.notifies(t, "100 wanted, 100 free", 0, 1)
		to.fetch(t)
		to.notifies(t, "the same wish at the same producer", 0, 0)
		from.Want(101)
		to.fetch(t)
		to.notifies(t, "101 wanted, 100 free", 0, 0)
	})
}

func TestW2NotifiesAtTheDiscardThatFreesAsMuch(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		if d.byCopy() {
			return // it is the Peek there: see the next test
		}
		from, to := d.pair(t, size)
		from.send(t, pattern(0, size))
		from.Want(100)
		to.fetch(t)
		to.peek(t, size)
		to.notifies(t, "the ring is full", 0, 0)
		to.Discard(99)
		to.notifies(t, "99 are free", 0, 0)
		to.Discard(1)
		to.notifies(t, "100 are free", 0, 1)
		to.Discard(200)
		to.notifies(t, "300 are free, the wish was granted", 0, 0)
		to.fetch(t)
		to.notifies(t, "the wish stands although the consumer moved: it was not seen", 0, 1)
		to.fetch(t)
		to.notifies(t, "nothing moved since", 0, 0)

		from.fetch(t)
		from.send(t, pattern(size, 300))
		to.fetch(t)
		to.Discard(100)
		to.notifies(t, "the same wish at another producer", 0, 1)
	})
}

func TestW2NotifiesAtThePeekThatHasCopiedAsMuch(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		if !d.byCopy() {
			return // it is the Discard there: see the test before
		}
		from, to := d.pair(t, size)
		from.send(t, pattern(0, size))
		from.Want(ring.MinGuess)
		to.fetch(t)
		to.notifies(t, "the ring is full, nothing was peeked", 0, 0)
		to.peek(t, 0)
		to.notifies(t, "one byte less than wanted was copied", 0, 0)
		from.Want(ring.MinGuess - 1)
		to.fetch(t) // twice as many bytes come with it
		to.notifies(t, "the wish is smaller, and free already", 0, 1)
		to.peek(t, 0)
		to.notifies(t, "more is free, the wish was granted", 0, 0)
		to.fetch(t)
		to.notifies(t, "the wish stands although the consumer moved: it was not seen", 0, 1)
		to.fetch(t)
		to.notifies(t, "nothing moved since", 0, 0)
		to.peek(t, size)

		from.fetch(t)
		from.send(t, pattern(size, size-1))
		to.fetch(t)
		to.peek(t, 2*size)
		to.notifies(t, "the ring is full, and the mirror", 0, 0)
		to.Discard(ring.MinGuess)
		to.notifies(t, "the mirror has room", 0, 0)
		to.peek(t, size-ring.MinGuess)
		to.notifies(t, "what is needed was there", 0, 0)
		to.peek(t, size)
		to.notifies(t, "as much as wanted was copied", 0, 1)
		to.Discard(size)
		to.notifies(t, "discarded", 0, 0)
	})
}

// The bytes that a Fetch has brought are given back only at the Peek, and a Flush
// after that tells it: whoever flushes between the two has told nothing.
func TestW2FlushBetweenFetchAndPeekLosesNothing(t *testing.T) {
	from, to := directions[0].pair(t, size)
	from.send(t, pattern(0, 100))
	from.Want(size - 1)
	to.fetch(t)
	to.notifies(t, "100 bytes are copied, and not peeked", 0, 0)
	to.peek(t, 0)
	to.notifies(t, "peeked", 0, 1)
}

func TestW2WishTakenBackIsForgotten(t *testing.T) {
	from, to := directions[0].pair(t, size)
	from.send(t, pattern(0, size))
	from.Want(100)
	to.fetch(t)
	from.Want(0)
	to.fetch(t)
	to.peek(t, size)
	to.Discard(size)
	to.notifies(t, "nobody wants space", 0, 0)
}

// A lie about want_space costs the liar a ring that must be empty first.
func TestW2WishBeyondTheRingIsTheWholeRing(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		from.send(t, pattern(0, size))
		setWord32(from.header, wantWord, 1<<32-1)
		to.fetch(t)
		to.peek(t, 0)
		to.notifies(t, "bytes are left in the ring", 0, 0)
		to.peek(t, size)
		to.Discard(size - 1)
		to.notifies(t, "one byte is left", 0, 0)
		to.Discard(1)
		to.notifies(t, "the ring is empty", 0, 1)
	})
}

func TestW3AwakeFetchedAfterTheStoreSparesTheNotify(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		to.Awake(true)
		from.send(t, pattern(0, 10))
		from.fetch(t)
		from.notifies(t, "awake was seen after the store", 0, 0)
		from.Want(size)
		from.fetch(t)
		from.notifies(t, "awake was seen after the wish", 0, 0)

		from.Awake(true)
		to.fetch(t)
		to.peek(t, 10)
		to.Discard(10)
		to.fetch(t)
		to.notifies(t, "awake was seen after space was freed", 0, 0)
	})
}

func TestW3AwakeFetchedBeforeTheStoreProvesNothing(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		if d.kind == mapMode {
			return // Flush looks for itself: see the next test
		}
		to.Awake(true)
		from.fetch(t)
		from.send(t, pattern(0, 10))
		from.notifies(t, "awake was seen before the store", 1, 0)

		from.send(t, pattern(10, 10))
		from.fetch(t)
		from.send(t, pattern(20, 10))
		from.notifies(t, "awake was seen between two stores", 1, 0)

		from.Want(size - 1) // by copy the last byte comes with the Discard
		to.fetch(t)
		to.notifies(t, "less is free", 0, 0)
		from.Awake(true)
		to.fetch(t)
		freed := map[bool]int64{true: 1}
		to.peek(t, 30)
		to.notifies(t, "awake was seen before space was freed by the Peek", 0, freed[d.byCopy()])
		to.Discard(30)
		to.notifies(t, "awake was seen before space was freed by the Discard", 0, freed[!d.byCopy()])
	})
}

// Where the header is mapped, Flush loads awake itself, after the stores.
func TestW3AMappedAwakeCountsAtTheFlush(t *testing.T) {
	from, to := newPair(t, mapMode, size)
	to.Awake(true)
	from.send(t, pattern(0, 10))
	from.notifies(t, "awake after the store", 0, 0)
	to.Awake(false)
	from.notifies(t, "asleep, and told by the fact that it was awake", 0, 0)

	from.send(t, pattern(10, 10))
	from.notifies(t, "asleep after the store", 1, 0)
	to.fetch(t)
	from.Want(size)
	to.fetch(t)
	to.peek(t, 20)
	from.Awake(true)
	to.Discard(20)
	from.Awake(false)
	to.notifies(t, "asleep after space was freed", 0, 1)
}

// A store that comes while the header is copied may be later than the word.
func TestW3StoreDuringTheFetchIsNotAcknowledged(t *testing.T) {
	from, to := directions[0].pair(t, size)
	to.Awake(true)
	from.peer.before = func(i int, s ring.Segment) error {
		from.send(t, pattern(0, 10))
		from.peer.before = nil
		return nil
	}
	from.fetch(t)
	from.notifies(t, "committed during the fetch", 1, 0)
}

func TestW3SleepingPeerIsNotified(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		to.Awake(true)
		to.Awake(false)
		from.send(t, pattern(0, 10))
		from.fetch(t)
		from.notifies(t, "awake was taken back", 1, 0)
	})
}

// The peer commits, and sees awake, at the worst moments: the reader that
// follows W4 has the data or a notify.
func TestW4ReaderThatFetchesAfterAwakeOffMissesNothing(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		commit := func(from *side) int64 {
			from.send(t, pattern(0, 10))
			from.fetch(t)
			n, _ := from.flush(t)
			return n
		}
		from, to := d.pair(t, size)
		to.Awake(true)
		to.fetch(t)
		if commit(from) != 0 {
			t.Fatal("a polling reader was notified")
		}
		to.Awake(false)
		if !to.fetch(t) {
			t.Error("the last fetch missed the data, and no notify will come")
		}

		from, to = d.pair(t, size)
		to.Awake(true)
		to.fetch(t)
		to.Awake(false)
		if to.fetch(t) {
			t.Fatal("news of nothing")
		}
		if commit(from) != 1 {
			t.Error("committed after the last fetch, and no notify came")
		}
	})
}

func TestAwakeIsPublished(t *testing.T) {
	s, _ := directions[0].pair(t, size)
	for _, on := range []bool{true, true, false, false, true} {
		s.Awake(on)
		if got := binary.LittleEndian.Uint32(s.header[awakeWord:]); (got == 1) != on || got > 1 {
			t.Errorf("Awake(%v) publishes %d", on, got)
		}
	}
}
