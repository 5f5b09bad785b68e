package ring_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"xvsock/ring"
)

// used returns a receiver that has taken 500 bytes and knows of 300 more, and
// that has sent 200 bytes of which its peer took 100: so every word has an
// honest past to lie about. Its peer's header is from.header. It has given back the
// 500 bytes where it reads in place, and all 800 where it copies.
func used(t *testing.T, d direction) (from, to *side) {
	from, to = d.pair(t, size)
	from.send(t, pattern(0, 800))
	to.fetch(t)
	to.peek(t, 800)
	to.Discard(500)
	to.send(t, pattern(0, 200))
	from.fetch(t)
	from.peek(t, 200)
	from.Discard(100)
	to.fetch(t)
	return from, to
}

// honestLimit is how far the producer may move, after used.
func honestLimit(d direction) uint64 {
	if d.byCopy() {
		return 799 + size // one byte is kept back
	}
	return 500 + size
}

func TestLiesEndTheEnd(t *testing.T) {
	for _, c := range []struct {
		name, word string
		lie        func(h []byte, room uint64) // room is how far the peer may fill the ring
	}{
		{"producer one beyond a full ring", "producer", func(h []byte, room uint64) { setPosition(h, producerWord, room+1) }},
		{"producer jumps far", "producer", func(h []byte, room uint64) { setPosition(h, producerWord, 1<<63) }},
		{"producer is the largest number", "producer", func(h []byte, room uint64) { setPosition(h, producerWord, 1<<64-1) }},
		{"producer jumps by 4 GiB", "producer", func(h []byte, room uint64) { setPosition(h, producerWord, 800+1<<32) }},
		{"producer goes back by one", "producer", func(h []byte, room uint64) { setPosition(h, producerWord, 799) }},
		{"producer goes back to what was discarded", "producer", func(h []byte, room uint64) { setPosition(h, producerWord, 500) }},
		{"producer goes back before what was discarded", "producer", func(h []byte, room uint64) { setPosition(h, producerWord, 499) }},
		{"producer goes back to 0", "producer", func(h []byte, room uint64) { setPosition(h, producerWord, 0) }},
		{"consumer beyond our producer", "consumer", func(h []byte, room uint64) { setPosition(h, consumerWord, 201) }},
		{"consumer jumps far", "consumer", func(h []byte, room uint64) { setPosition(h, consumerWord, 1<<63) }},
		{"consumer goes back by one", "consumer", func(h []byte, room uint64) { setPosition(h, consumerWord, 99) }},
		{"consumer is the largest number", "consumer", func(h []byte, room uint64) { setPosition(h, consumerWord, 1<<64-1) }},
		{"state is 2", "state", func(h []byte, room uint64) { h[stateWord] = 2 }},
		{"state is 0xFF", "state", func(h []byte, room uint64) { h[stateWord] = 0xFF }},
	} {
		t.Run(c.name, func(t *testing.T) {
			forEachDirection(t, func(t *testing.T, d direction) {
				from, to := used(t, d)
				unread := to.peek(t, 300)
				c.lie(from.header, honestLimit(d))
				_, err := to.Fetch()
				var lie *ring.LieError
				if !errors.As(err, &lie) || lie.Word != c.word {
					t.Fatalf("Fetch: %v, want a lie about %s", err, c.word)
				}
				if _, _, err := to.Peek(1); err != error(lie) {
					t.Errorf("Peek after the lie: %v", err)
				}
				if len(unread) != 300 || to.Drained() {
					t.Error("the lie was believed")
				}
			})
		})
	}
}

func TestHonestExtremesAreNoLies(t *testing.T) {
	for name, edit := range map[string]func(h []byte, room uint64){
		"producer fills the ring":            func(h []byte, room uint64) { setPosition(h, producerWord, room) },
		"consumer takes all that we sent":    func(h []byte, room uint64) { setPosition(h, consumerWord, 200) },
		"nothing moved":                      func(h []byte, room uint64) {},
		"everything is wanted":               func(h []byte, room uint64) { setWord32(h, wantWord, 1<<32-1) },
		"awake is any number":                func(h []byte, room uint64) { setWord32(h, awakeWord, 0xDEAD0000) },
		"bytes that version 1 calls zero":    func(h []byte, room uint64) { h[65], h[71], h[112], h[127], h[24] = 1, 2, 3, 4, 5 },
		"static words change after the link": func(h []byte, room uint64) { copy(h[:64], bytes.Repeat([]byte{0xEE}, 64)) },
	} {
		t.Run(name, func(t *testing.T) {
			forEachDirection(t, func(t *testing.T, d direction) {
				from, to := used(t, d)
				edit(from.header, honestLimit(d))
				if _, err := to.Fetch(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestHeaderThatDidNotMoveIsNoNews(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		_, to := used(t, d)
		for range 3 {
			if to.fetch(t) {
				t.Error("news of nothing")
			}
		}
	})
}

func TestPairThatDisagreesIsNotYet(t *testing.T) {
	for _, word := range []int{producerWord, consumerWord} {
		for _, half := range []int{0, 8} {
			forEachDirection(t, func(t *testing.T, d direction) {
				from, to := used(t, d)
				honest := bytes.Clone(from.header)
				for _, v := range []uint64{0, 1, 801, 1 << 40, 1<<64 - 1} {
					binary.LittleEndian.PutUint64(from.header[word+half:], v)
					for range 3 {
						if !to.fetch(t) {
							t.Error("not yet is no news, and its reader would sleep")
						}
					}
					if got := len(to.peek(t, size)); got != 300 {
						t.Errorf("%d bytes known, want 300", got)
					}
				}
				copy(from.header, honest)
				if to.fetch(t) {
					t.Error("back at the old value, and news")
				}
			})
		}
	}
}

// A peer that moves on while its header is copied bytewise is never believed
// to be where it never was.
func TestTornPositionIsNeverAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		header := newHeaderRapid(t)
		c := &copier{header: header, rx: make([]byte, 1<<16)}
		s := &side{header: newHeaderRapid(t), peer: c}
		cfg := s.config(1 << 16)
		cfg.TxPages = make([]byte, 1<<16)
		end, err := ring.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var published uint64 // and everything in seen
		for range rapid.IntRange(1, 60).Draw(t, "fetches") {
			// The stores that happen during this fetch, and before which byte.
			type store struct {
				before, at int
				value      uint64
			}
			var stores []store
			seen := map[uint64]bool{published: true}
			limit := published + 65536 - 256 // what position.go promises
			for range rapid.IntRange(0, 4).Draw(t, "moves") {
				next := published + uint64(8*rapid.IntRange(1, 8191).Draw(t, "by"))
				if next >= limit {
					break
				}
				first := rapid.IntRange(0, 40).Draw(t, "complement before")
				second := rapid.IntRange(first, 40).Draw(t, "value before")
				if n := len(stores); n > 0 {
					first, second = max(first, stores[n-1].before), max(second, stores[n-1].before)
				}
				stores = append(stores, store{first, producerWord + 8, ^next}, store{second, producerWord, next})
				published, seen[next] = next, true
			}
			c.between = func(i int) {
				for len(stores) > 0 && stores[0].before <= i {
					binary.LittleEndian.PutUint64(header[stores[0].at:], stores[0].value)
					stores = stores[1:]
				}
			}
			if _, err := end.Fetch(); err != nil {
				t.Fatal(err)
			}
			c.between(64)
			c.between = nil
			position := consumed(s) + uint64(peekLen(t, end))
			if !seen[position] {
				t.Fatalf("believed %#x, which was never published", position)
			}
			if _, err := end.Fetch(); err != nil {
				t.Fatal(err)
			}
			end.Discard(peekLen(t, end))
			if got := consumed(s); got != published {
				t.Fatalf("settled at %#x, want %#x", got, published)
			}
		}
	})
}

func newHeaderRapid(t *rapid.T) []byte {
	page := make([]byte, ring.HeaderSize)
	if err := ring.Format(page, ring.Static{}); err != nil {
		t.Fatal(err)
	}
	return page
}

// consumed is the consumer that s publishes.
func consumed(s *side) uint64 { return binary.LittleEndian.Uint64(s.header[consumerWord:]) }

func peekLen(t *rapid.T, end *ring.End) int {
	a, b, err := end.Peek(1 << 16)
	if err != nil {
		t.Fatal(err)
	}
	return len(a) + len(b)
}

func TestComplementIsStoredFirst(t *testing.T) {
	if got := ring.PublishOrder(5); got != 5 {
		t.Errorf("stored last: %#x, want the value 5", got)
	}
}

// Hostile behaviour 5: no word is fetched twice. The header changes as soon as
// it was read, and nothing of the second version has an effect.
func TestHeaderIsFetchedOnce(t *testing.T) {
	from, to := used(t, directions[0])
	headers := 0
	to.peer.before = func(i int, s ring.Segment) error {
		if s.Area == ring.AreaHeader {
			headers++
			return nil
		}
		setPosition(from.header, producerWord, 1<<50)
		setPosition(from.header, consumerWord, 1<<50)
		from.header[stateWord] = 77
		return nil
	}
	if to.fetch(t) || headers != 1 {
		t.Errorf("the header was copied %d times", headers)
	}
	if got := len(to.peek(t, size)); got != 300 {
		t.Errorf("%d bytes known, want 300", got)
	}
}

func TestCopyThatFailsEndsTheEnd(t *testing.T) {
	revoked := errors.New("grant revoked")
	failAt := func(k int) func(int, ring.Segment) error {
		return func(i int, _ ring.Segment) error {
			if i == k {
				return revoked
			}
			return nil
		}
	}
	for k := range 4 {
		from, to := directions[0].pair(t, 1<<16)
		from.send(t, pattern(0, 1<<16))
		for range 5 { // until the guess is larger than three pages
			to.fetch(t)
		}
		to.peer.before = failAt(k)
		_, err := to.Fetch()
		if !errors.Is(err, revoked) {
			t.Fatalf("Fetch, segment %d: %v", k, err)
		}
		if _, _, again := to.Peek(1); again != err {
			t.Errorf("Peek after it: %v", again)
		}

		from, to = directions[0].pair(t, 1<<16)
		from.send(t, pattern(0, 1<<16))
		to.fetch(t)
		to.peer.before = failAt(k)
		a, b, err := to.Peek(1 << 15)
		if !errors.Is(err, revoked) || a != nil || b != nil {
			t.Errorf("Peek, segment %d: %d bytes, %v", k, len(a)+len(b), err)
		}
		if got := consumed(to); got != 0 {
			t.Errorf("Peek, segment %d: gave %d bytes back", k, got)
		}

		from, _ = directions[3].pair(t, 1<<16)
		from.Reserve(1 << 16)
		before := bytes.Clone(from.header)
		from.peer.before = failAt(k)
		if err := from.Commit(1 << 16); !errors.Is(err, revoked) {
			t.Errorf("Commit, segment %d: %v", k, err)
		}
		if !bytes.Equal(before, from.header) {
			t.Error("Commit published what it could not copy")
		}
	}
}

// XSA-318: the copy says success and did nothing, after one that did.
func TestCopyThatDoesNothingIsNoNewsOfOldWords(t *testing.T) {
	_, to := used(t, directions[0])
	to.peer.idle = true
	if _, err := to.Fetch(); !errors.Is(err, ring.ErrGone) {
		t.Errorf("Fetch: %v, want ErrGone", err)
	}
}

// Data that changes while it is copied, or after, is never more than the bytes
// of the ring, and what Fetch copied stays as it was.
func TestCopiedDataIsPrivate(t *testing.T) {
	from, to := directions[0].pair(t, size)
	from.send(t, pattern(0, 400))
	to.fetch(t)
	a, _, err := to.Peek(400)
	if err != nil {
		t.Fatal(err)
	}
	clear(to.peer.rx)
	if !bytes.Equal(a, pattern(0, 400)) {
		t.Error("peeked bytes changed with the peer's page")
	}
}

func FuzzFetch(f *testing.F) {
	f.Add([]byte{0}, 0, false)
	f.Add(bytes.Repeat([]byte{0xFF}, 64), 4096, true)
	whole := make([]byte, ring.HeaderSize)
	if err := ring.Format(whole, ring.Static{}); err != nil {
		f.Fatal(err)
	}
	setPosition(whole, producerWord, 77)
	f.Add(whole[64:128], 50, false)
	f.Fuzz(func(t *testing.T, words []byte, n int, mapped bool) {
		d := directions[0]
		if mapped {
			d = directions[1]
		}
		from, to := d.pair(t, 4096)
		to.send(t, pattern(0, 100))
		// Each 64 bytes are the moving words of one more Fetch. A complement of 0
		// stands for the right one: the fuzzer would not find it.
		for ; len(words) >= 64; words = words[64:] {
			copy(from.header[64:128], words)
			for _, word := range []int{producerWord, consumerWord} {
				if v := binary.LittleEndian.Uint64(words[word-64:]); binary.LittleEndian.Uint64(words[word-56:]) == 0 {
					setPosition(from.header, word, v)
				}
			}
			_, err := to.Fetch()
			a, b, peekErr := to.Peek(n)
			if err != nil {
				var lie *ring.LieError
				if !errors.As(err, &lie) && !errors.Is(err, ring.ErrGone) {
					t.Fatalf("Fetch: %v", err)
				}
				if peekErr != err {
					t.Fatalf("Peek after %v: %v", err, peekErr)
				}
				return
			}
			if peekErr != nil || len(a)+len(b) > 4096 {
				t.Fatalf("%d bytes, %v", len(a)+len(b), peekErr)
			}
			to.Discard((len(a) + len(b)) / 2)
			if a, b := to.Reserve(4096 - 100 + 1); a != nil && binary.LittleEndian.Uint64(from.header[consumerWord:]) == 0 {
				t.Fatalf("room of %d bytes in a ring that holds 100", len(a)+len(b))
			}
			if err := to.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
