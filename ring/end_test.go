package ring_test

import (
	"bytes"
	"errors"
	"testing"

	"xvsock/ring"
)

const size = 8192 // of the rings in these tests: two pages

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(cfg *ring.Config)
	}{
		{"no header", func(cfg *ring.Config) { cfg.Header = nil }},
		{"a header at an odd address", func(cfg *ring.Config) { cfg.Header = make([]byte, 8192)[4:4100] }},
		{"a short mapped header", func(cfg *ring.Config) { cfg.PeerHeader = make([]byte, 128) }},
		{"a tx ring of no bytes", func(cfg *ring.Config) { cfg.TxSize = 0 }},
		{"an rx ring of three pages", func(cfg *ring.Config) { cfg.RxSize = 12288 }},
		{"tx pages of another size", func(cfg *ring.Config) { cfg.TxPages = make([]byte, 4096) }},
		{"rx pages of another size", func(cfg *ring.Config) { cfg.RxPages = make([]byte, 2*size) }},
		{"nothing mapped and no copier", func(cfg *ring.Config) { cfg.Peer = nil }},
		{"no way to notify of data", func(cfg *ring.Config) { cfg.NotifyTx = nil }},
		{"no way to notify of space", func(cfg *ring.Config) { cfg.NotifyRx = nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &side{header: newHeader(t), peer: &copier{}}
			cfg := s.config(size)
			cfg.Peer = s.peer
			c.edit(&cfg)
			if _, err := ring.New(cfg); err == nil {
				t.Error("New accepts it")
			}
		})
	}
}

func TestNothingArrivesBeforeCommit(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		a, _ := from.Reserve(100)
		copy(a, pattern(0, 100))
		if to.fetch(t) || len(to.peek(t, 100)) != 0 {
			t.Error("reserved bytes arrived")
		}
		if err := from.Commit(100); err != nil {
			t.Fatal(err)
		}
		if !to.fetch(t) || to.Drained() {
			t.Error("committed bytes are no news")
		}
		if !bytes.Equal(to.peek(t, 100), pattern(0, 100)) {
			t.Error("other bytes arrived")
		}
		to.Discard(100)
		if !to.Drained() {
			t.Error("not drained")
		}
	})
}

func TestCommitOfLessThanReserved(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		a, _ := from.Reserve(100)
		copy(a, pattern(0, 100))
		if err := from.Commit(40); err != nil {
			t.Fatal(err)
		}
		from.send(t, pattern(40, 60))
		to.fetch(t)
		if !bytes.Equal(to.peek(t, 100), pattern(0, 100)) {
			t.Error("other bytes arrived")
		}
	})
}

func TestRoomAtTheEdges(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		for n, fits := range map[int]bool{-1: false, 0: false, 1: true, size - 1: true, size: true, size + 1: false} {
			if a, b := from.Reserve(n); (len(a)+len(b) == n && a != nil) != fits {
				t.Errorf("empty ring: Reserve(%d) gives %d+%d bytes", n, len(a), len(b))
			}
		}
		from.send(t, pattern(0, size-1))
		if a, _ := from.Reserve(2); a != nil {
			t.Error("one byte free, two reserved")
		}
		from.send(t, pattern(size-1, 1))
		if a, _ := from.Reserve(1); a != nil {
			t.Error("full ring, one reserved")
		}
		to.fetch(t)
		if !bytes.Equal(to.peek(t, size), pattern(0, size)) {
			t.Fatal("other bytes arrived")
		}
		to.Discard(3)
		if a, _ := from.Reserve(1); a != nil {
			t.Error("space is known before it was fetched")
		}
		if !from.fetch(t) {
			t.Error("space is no news")
		}
		room := 3 // what was discarded; by copy, what was copied, but for the last byte
		if d.byCopy() {
			room = size - 1
		}
		if a, _ := from.Reserve(room + 1); a != nil {
			t.Errorf("%d bytes free, one more reserved", room)
		}
		from.send(t, pattern(size, room))
		if a, _ := from.Reserve(1); a != nil {
			t.Error("full ring again, one reserved")
		}
		to.fetch(t)
		if !bytes.Equal(to.peek(t, size), pattern(3, size)) {
			t.Error("other bytes arrived after the wrap")
		}
	})
}

func TestFrameWrapsAtMostOnce(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		for _, c := range []struct{ before, n, first int }{
			{0, size, size}, {size - 1, 1, 1}, {size - 1, 2, 1}, {size - 100, 100, 100},
			{size - 100, 101, 100}, {1, size, size - 1}, {size - 1, size, 1},
		} {
			from, to := d.pair(t, size)
			from.send(t, pattern(0, c.before))
			to.fetch(t)
			to.peek(t, c.before)
			to.Discard(c.before)
			from.fetch(t)

			a, b := from.Reserve(c.n)
			if len(a) != c.first || len(b) != c.n-c.first {
				t.Errorf("Reserve(%d) after %d bytes: pieces of %d and %d", c.n, c.before, len(a), len(b))
			}
			from.send(t, pattern(c.before, c.n))
			to.fetch(t)
			a, b, err := to.Peek(c.n)
			if err != nil {
				t.Fatal(err)
			}
			if len(a) != c.first || len(b) != c.n-c.first {
				t.Errorf("Peek(%d) after %d bytes: pieces of %d and %d", c.n, c.before, len(a), len(b))
			}
			if !bytes.Equal(append(append([]byte(nil), a...), b...), pattern(c.before, c.n)) {
				t.Errorf("%d bytes after %d: others arrived", c.n, c.before)
			}
		}
	})
}

func TestPeekedBytesStayAcrossFetches(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		from.send(t, pattern(0, 600))
		to.fetch(t)
		a, _, err := to.Peek(600)
		if err != nil {
			t.Fatal(err)
		}
		from.send(t, pattern(600, size-600))
		for range 20 {
			to.fetch(t)
		}
		if !bytes.Equal(a, pattern(0, len(a))) {
			t.Error("a Fetch wrote over bytes not yet discarded")
		}
	})
}

func TestSecondReserveReplacesTheFirst(t *testing.T) {
	from, to := directions[0].pair(t, size)
	from.Reserve(100)
	from.Reserve(10)
	mustPanic(t, "Commit of a replaced Reserve", func() { _ = from.Commit(100) })
	from.send(t, pattern(0, 10))
	mustPanic(t, "a second Commit", func() { _ = from.Commit(1) })
	to.fetch(t)
	if got := to.peek(t, 100); !bytes.Equal(got, pattern(0, 10)) {
		t.Errorf("%d bytes arrived", len(got))
	}
	mustPanic(t, "Discard of more than was shown", func() { to.Discard(11) })
	mustPanic(t, "Discard of less than nothing", func() { to.Discard(-1) })
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s does not panic", what)
		}
	}()
	f()
}

func TestCloseIsSeenAsGone(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		from.send(t, pattern(0, 10))
		before := bytes.Clone(from.header)
		from.Close()
		from.Close()
		before[ring.StateOffset] = 0
		if !bytes.Equal(from.header, before) {
			t.Error("Close touched more than the state byte")
		}
		for _, state := range []byte{0, 1} { // up again is too late
			from.header[ring.StateOffset] = state
			if _, err := to.Fetch(); !errors.Is(err, ring.ErrGone) {
				t.Errorf("Fetch: %v, want ErrGone", err)
			}
		}
	})
}

// A dead End gives its first error for ever and publishes nothing but Close.
func TestDeadEndPublishesNothing(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		from.send(t, pattern(0, 100))
		to.fetch(t)
		to.peek(t, 100)
		to.Reserve(10)
		from.header[ring.StateOffset] = 9
		_, first := to.Fetch()
		var lie *ring.LieError
		if !errors.As(first, &lie) || lie.Word != "state" || lie.Value != 9 {
			t.Fatalf("Fetch: %v, want a lie about the state", first)
		}
		from.header[ring.StateOffset] = 0 // would be ErrGone

		before, calls := bytes.Clone(to.header), to.peer.calls.Load()
		for range 2 {
			_, err := to.Fetch()
			_, _, peekErr := to.Peek(1)
			for _, err := range []error{err, peekErr, to.Commit(10), to.Flush()} {
				if err != first {
					t.Errorf("got %v, want %v", err, first)
				}
			}
			to.Discard(100)
			to.Want(10)
			to.Awake(true)
			if a, _ := to.Reserve(1); a != nil {
				t.Error("a dead End reserves")
			}
		}
		if !bytes.Equal(before, to.header) || to.peer.calls.Load() != calls || to.notifyTx.Load()+to.notifyRx.Load() != 0 {
			t.Error("a dead End published, copied or notified")
		}
		to.Close()
		if to.header[ring.StateOffset] != 0 {
			t.Error("a dead End cannot be closed")
		}
	})
}

func TestFailedNotifyEndsTheEnd(t *testing.T) {
	s := &side{header: newHeader(t)}
	s.peer = &copier{header: newHeader(t), rx: make([]byte, size)}
	broken := errors.New("no such port")
	cfg := s.config(size)
	cfg.TxPages = make([]byte, size)
	cfg.NotifyTx = func() error { return broken }
	end, err := ring.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.End = end
	s.send(t, pattern(0, 1))
	if err := end.Flush(); !errors.Is(err, broken) {
		t.Errorf("Flush: %v", err)
	}
	if _, err := end.Fetch(); !errors.Is(err, broken) {
		t.Errorf("Fetch after it: %v", err)
	}
}

// A copy fails after another call has met a lie: the lie stays the reason.
func TestFirstErrorStays(t *testing.T) {
	from, to := directions[0].pair(t, size)
	revoked := errors.New("grant revoked")
	to.peer.before = func(int, ring.Segment) error {
		to.peer.before = nil
		setPosition(from.header, producerWord, 1<<40)
		if _, err := to.Fetch(); err == nil {
			t.Error("the lie was believed")
		}
		return revoked
	}
	var lie *ring.LieError
	if _, err := to.Fetch(); !errors.As(err, &lie) || errors.Is(err, revoked) {
		t.Errorf("Fetch: %v, want the lie that came first", err)
	}
}

func TestNoAllocationAfterNew(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		from, to := d.pair(t, size)
		payload := pattern(0, 3000)
		step := func() {
			from.Want(100)
			from.send(t, payload)
			_ = from.Flush()
			to.Awake(true)
			to.fetch(t)
			to.Awake(false)
			if _, _, err := to.Peek(len(payload)); err != nil {
				t.Fatal(err)
			}
			to.Discard(len(payload))
			_ = to.Flush()
			from.fetch(t)
		}
		if n := testing.AllocsPerRun(200, step); n != 0 {
			t.Errorf("%v allocations a round", n)
		}
	})
}
