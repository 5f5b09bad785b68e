package ring_test

import (
	"bytes"
	"errors"
	"testing"

	"xvsock/ring"
)

// givesBack checks how far the ring's room was given back.
func (s *side) givesBack(t *testing.T) func(when string, want uint64) {
	return func(when string, want uint64) {
		t.Helper()
		if got := consumed(s); got != want {
			t.Errorf("%s: consumer is %d, want %d", when, got, want)
		}
	}
}

func TestInPlaceRoomIsGivenBackAtTheDiscard(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		if d.byCopy() {
			return
		}
		from, to := d.pair(t, size)
		gave := to.givesBack(t)
		from.send(t, pattern(0, size))
		to.fetch(t)
		gave("fetched", 0)
		to.peek(t, size)
		gave("peeked, and still read there", 0)
		to.Discard(10)
		gave("ten discarded", 10)
		to.Discard(0)
		gave("none discarded", 10)
		to.Discard(size - 10)
		gave("all discarded", size)
	})
}

func TestByCopyRoomIsGivenBackAtThePeekOfWhatWasCopied(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		if !d.byCopy() {
			return
		}
		from, to := d.pair(t, size)
		gave := to.givesBack(t)
		from.send(t, pattern(0, size))
		to.fetch(t)
		gave("some bytes came with the header", 0)
		to.peek(t, 0)
		gave("they were peeked", ring.MinGuess-1)
		to.Discard(10)
		gave("ten discarded", ring.MinGuess-1)
		to.fetch(t)
		gave("twice as many came with the header", ring.MinGuess-1)
		to.peek(t, size-10)
		gave("all are copied", size-1)
		to.Discard(size - 11)
		gave("all but one discarded", size-1)
		to.Discard(1)
		gave("all discarded", size)
	})
}

// A mirror full of bytes that nobody has discarded, and the ring full again: so much a
// peer can have under way where the receiver copies, and no byte more.
func TestFullMirrorIsKeptWhileTheRingIsFullAgain(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		if !d.byCopy() {
			return
		}
		from, to := d.pair(t, size)
		from.send(t, pattern(0, 100)) // so that both wrap
		to.fetch(t)
		to.take(t, 100)
		from.fetch(t)
		from.send(t, pattern(100, size))
		to.fetch(t)
		a, b, err := to.Peek(size)
		if err != nil {
			t.Fatal(err)
		}
		from.fetch(t)
		from.send(t, pattern(100+size, size-1))

		_, _, n := to.copied(func() {
			for i := range 20 {
				to.fetch(t)
				to.peek(t, i*size/10)
			}
		})
		if n != 0 {
			t.Errorf("%d bytes copied into a full mirror", n)
		}
		if !bytes.Equal(append(bytes.Clone(a), b...), pattern(100, size)) {
			t.Fatal("bytes not yet discarded were overwritten")
		}
		if from.fetch(t); from.Free() != 0 {
			t.Errorf("%d bytes free behind a full mirror", from.Free())
		}
		for at, end := 100, 100+2*size-1; at < end; {
			got := to.peek(t, size)
			if !bytes.Equal(got, pattern(at, min(size, end-at))) {
				t.Fatalf("%d bytes at %d: others arrived", len(got), at)
			}
			n := min(700, len(got))
			to.Discard(n)
			at += n
			if at%3 == 0 { // as much as was discarded may come with the header
				to.fetch(t)
			}
		}
		if !to.Drained() {
			t.Error("not drained")
		}
	})
}

func TestProducerBeyondAFullMirrorAndAFullRingIsALie(t *testing.T) {
	for _, beyond := range []uint64{0, 1} {
		from, to := directions[0].pair(t, size)
		from.send(t, pattern(0, size))
		to.fetch(t)
		to.peek(t, size)
		setPosition(from.header, producerWord, 2*size-1+beyond)
		_, err := to.Fetch()
		var lie *ring.LieError
		if got := errors.As(err, &lie); got != (beyond > 0) {
			t.Errorf("%d beyond: %v", beyond, err)
		}
	}
}

// Who is told that all was taken may take the link away: nothing is left in a mirror.
func TestTakenIsWhatWasDealtWith(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		from.send(t, pattern(0, 100))
		to.fetch(t)
		to.peek(t, 100)
		to.Discard(99)
		if from.fetch(t); from.Taken() {
			t.Error("all is said to be taken, and one byte is not discarded")
		}
		to.Discard(1)
		if from.fetch(t); !from.Taken() {
			t.Error("all was discarded, and is not said to be taken")
		}
	})
}

func TestFreeIsWhatReserveHasRoomFor(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		free := func(when string, want int) {
			t.Helper()
			if got := from.Free(); got != want {
				t.Errorf("%s: %d bytes free, want %d", when, got, want)
			}
			if a, _ := from.Reserve(want + 1); a != nil {
				t.Errorf("%s: one byte more can be reserved", when)
			}
			if a, b := from.Reserve(want); len(a)+len(b) != want {
				t.Errorf("%s: %d bytes can be reserved, want %d", when, len(a)+len(b), want)
			}
		}
		free("an empty ring", size)
		from.send(t, pattern(0, 1000))
		free("1000 sent", size-1000)
		from.send(t, pattern(1000, size-1000))
		free("all sent", 0)
		to.fetch(t)
		to.take(t, size)
		free("all taken, and not yet seen", 0)
		from.fetch(t)
		free("all taken", size)
	})
}

func TestGrantedIsAWishForRoomThatIsThere(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		granted := func(when string, want bool) {
			t.Helper()
			if from.Granted() != want {
				t.Errorf("%s: granted is %v", when, !want)
			}
		}
		granted("nothing is wanted, all is free", false)
		from.Want(size)
		granted("all is wanted, all is free", true)
		from.Want(2 * size)
		granted("more than the ring is wanted: that is all", true)
		from.send(t, pattern(0, 1))
		granted("all is wanted, one byte is in use", false)
		from.Want(size - 1)
		granted("the rest is wanted", true)
		from.Want(size)
		to.fetch(t)
		to.take(t, 1)
		granted("all is free, and not yet seen", false)
		from.fetch(t)
		granted("all is free", true)
		from.Want(0)
		granted("the wish was taken back", false)
	})
}
