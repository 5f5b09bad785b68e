package ring_test

import (
	"bytes"
	"testing"

	"xvsock/ring"
)

// copied returns what one call of f cost: copies, segments and data bytes.
func (s *side) copied(f func()) (calls, segments, bytes int64) {
	c, g, b := s.peer.calls.Load(), s.peer.segments.Load(), s.peer.bytes.Load()
	f()
	return s.peer.calls.Load() - c, s.peer.segments.Load() - g, s.peer.bytes.Load() - b
}

func TestFetchIsOneCopyWithTheDataOfASmallFrame(t *testing.T) {
	from, to := directions[0].pair(t, 1<<16)
	for i := range 100 {
		from.send(t, pattern(i*64, 64))
		calls, segments, _ := to.copied(func() {
			to.fetch(t)
			if !bytes.Equal(to.peek(t, 64), pattern(i*64, 64)) {
				t.Fatal("other bytes arrived")
			}
			to.Discard(64)
		})
		if calls != 1 || segments > 3 {
			t.Fatalf("frame %d cost %d copies, %d segments", i, calls, segments)
		}
		from.fetch(t)
	}
}

func TestSpeculationGrowsWhenUsefulAndShrinksWhenWasted(t *testing.T) {
	const large = 1 << 18
	from, to := directions[0].pair(t, large)
	guess := func() int64 {
		_, _, n := to.copied(func() { to.fetch(t) })
		return n
	}
	if n := guess(); n != ring.MinGuess {
		t.Fatalf("first guess %d, want %d", n, ring.MinGuess)
	}
	from.send(t, pattern(0, large/2))
	for want := int64(ring.MinGuess); want < ring.MaxGuess; want *= 2 {
		if n := guess(); n != want {
			t.Fatalf("guess %d, want %d", n, want)
		}
	}
	if n := guess(); n < ring.MaxGuess-4096 || n > ring.MaxGuess {
		t.Fatalf("largest guess %d, want nearly %d", n, ring.MaxGuess)
	}
	to.peek(t, large/2)
	to.Discard(large / 2)

	// After two frames of three quarters of the guess it is as long as they are.
	const frames = 48 << 10
	for i, want := range []int64{ring.MaxGuess, ring.MaxGuess, frames, frames} {
		from.fetch(t)
		from.send(t, pattern(large/2+i*frames, frames))
		if n := guess(); n != want {
			t.Errorf("guess %d for frame %d of %d, want %d", n, i, frames, want)
		}
		to.take(t, frames)
	}
	for want := int64(frames); want > ring.MinGuess; want = max(want/2, ring.MinGuess) {
		for range 2 {
			if n := guess(); n != want {
				t.Errorf("an idle reader's guess %d, want %d", n, want)
			}
		}
	}
	if n := guess(); n != ring.MinGuess {
		t.Errorf("guess after as many empty fetches %d, want %d", n, ring.MinGuess)
	}
}

func TestOneEmptyFetchOfAStreamLeavesTheGuess(t *testing.T) {
	const frames = 16 << 10
	from, to := directions[0].pair(t, 1<<16)
	for i := range 20 {
		from.send(t, pattern(i*frames, frames))
		_, _, n := to.copied(func() { to.fetch(t) })
		if i >= 10 && n != frames {
			t.Errorf("guess %d for frame %d of %d", n, i, frames)
		}
		to.take(t, frames)
		if i >= 10 {
			to.fetch(t)
		}
		from.fetch(t)
	}
}

func TestSpeculationNeverCopiesOverUnreadBytes(t *testing.T) {
	from, to := directions[0].pair(t, 4096)
	from.send(t, pattern(0, 4096))
	for range 10 {
		to.fetch(t)
	}
	_, _, n := to.copied(func() { to.fetch(t) })
	if n != 0 {
		t.Errorf("a full ring of unread bytes: %d copied", n)
	}
	if !bytes.Equal(to.peek(t, 4096), pattern(0, 4096)) {
		t.Error("other bytes arrived")
	}
}

func TestPeekCopiesOnlyAsNeeded(t *testing.T) {
	const large = 1 << 20
	from, to := directions[0].pair(t, large)
	from.send(t, pattern(0, large))
	to.fetch(t)
	if calls, _, _ := to.copied(func() { to.peek(t, ring.MinGuess) }); calls != 0 {
		t.Errorf("%d copies for bytes that Fetch brought", calls)
	}
	calls, segments, n := to.copied(func() { to.peek(t, ring.MinGuess+1) })
	if calls != 1 || segments != 16 || n < 15*4096 {
		t.Errorf("one more byte: %d copies, %d segments, %d bytes", calls, segments, n)
	}
	if calls, _, _ := to.copied(func() { to.peek(t, 15*4096) }); calls != 0 {
		t.Errorf("%d copies for bytes that Peek brought", calls)
	}
	calls, _, _ = to.copied(func() {
		if !bytes.Equal(to.peek(t, large), pattern(0, large)) {
			t.Error("other bytes arrived")
		}
	})
	if calls != 15 {
		t.Errorf("1 MiB less 16 pages: %d copies, want 15", calls)
	}
	if calls, _, _ := to.copied(func() { to.peek(t, large+1) }); calls != 0 {
		t.Errorf("%d copies for bytes that were not published", calls)
	}
}

func TestCommitCopiesOutSixteenPagesACall(t *testing.T) {
	from, to := directions[3].pair(t, 1<<20)
	calls, segments, _ := from.copied(func() { from.send(t, pattern(0, 1<<20)) })
	if calls != 16 || segments != 256 {
		t.Errorf("1 MiB: %d copies, %d segments", calls, segments)
	}
	to.fetch(t)
	if !bytes.Equal(to.peek(t, 1<<20), pattern(0, 1<<20)) {
		t.Error("other bytes arrived")
	}
}

func TestMappedEndNeverCopies(t *testing.T) {
	from, to := directions[1].pair(t, size)
	from.send(t, pattern(0, size))
	to.fetch(t)
	to.peek(t, size)
	to.Discard(size)
	from.fetch(t)
	if from.peer.calls.Load()+to.peer.calls.Load() != 0 {
		t.Error("it copied")
	}
}
