package ring_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// machine runs both ends of one direction against a model: the bytes committed
// and not discarded, as a slice.
type machine struct {
	from, to *side

	queue     []byte // committed, not discarded
	known     int    // of them, what the receiver must know of
	sent      int
	free      int // room that the sender must know of
	discarded int // since its last fetch
	untold    bool
}

func (m *machine) commit(t *rapid.T) {
	n := rapid.IntRange(1, size).Draw(t, "n")
	a, b := m.from.Reserve(n)
	if (a != nil) != (n <= m.free) {
		t.Fatalf("Reserve(%d) gives %d+%d bytes, %d are free", n, len(a), len(b), m.free)
	}
	if a == nil {
		return
	}
	payload := pattern(m.sent, n)
	copy(b, payload[copy(a, payload):])
	if err := m.from.Commit(n); err != nil {
		t.Fatal(err)
	}
	m.queue = append(m.queue, payload...)
	m.sent, m.free, m.untold = m.sent+n, m.free-n, true
}

func (m *machine) receive(t *rapid.T) {
	news, err := m.to.Fetch()
	if err != nil || news != (len(m.queue) > m.known) {
		t.Fatalf("Fetch: %v, %v; %d bytes known of %d", news, err, m.known, len(m.queue))
	}
	m.known = len(m.queue)
	m.untold = false
}

func (m *machine) peek(t *rapid.T) {
	least := rapid.IntRange(0, size+1).Draw(t, "min")
	a, b, err := m.to.Peek(least)
	if err != nil {
		t.Fatal(err)
	}
	got := append(append([]byte(nil), a...), b...)
	if len(got) > m.known || len(got) < min(least, m.known) {
		t.Fatalf("Peek(%d) shows %d bytes, %d are known", least, len(got), m.known)
	}
	if !bytes.Equal(got, m.queue[:len(got)]) {
		t.Fatal("Peek shows other bytes")
	}
	n := rapid.IntRange(0, len(got)).Draw(t, "discard")
	m.to.Discard(n)
	m.queue, m.known, m.discarded = m.queue[n:], m.known-n, m.discarded+n
}

func (m *machine) space(t *rapid.T) {
	news, err := m.from.Fetch()
	if err != nil || news != (m.discarded > 0) {
		t.Fatalf("Fetch: %v, %v; %d bytes were discarded", news, err, m.discarded)
	}
	m.free, m.discarded = m.free+m.discarded, 0
}

func (m *machine) want(t *rapid.T) {
	m.from.Want(rapid.IntRange(0, size).Draw(t, "want"))
}

// flush checks W1: without polling, what the receiver has not fetched is
// always notified.
func (m *machine) flush(t *rapid.T) {
	before := m.from.notifyTx.Load()
	if err := m.from.Flush(); err != nil {
		t.Fatal(err)
	}
	if m.untold && m.from.notifyTx.Load() == before {
		t.Fatal("committed since the last Fetch and Flush, and no notify")
	}
	m.untold = false
	if err := m.to.Flush(); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) check(t *rapid.T) {
	if m.to.Drained() != (m.known == 0) {
		t.Fatalf("Drained is %v, %d bytes are known", m.to.Drained(), m.known)
	}
	for word, want := range map[int]uint64{
		producerWord: uint64(m.sent),
		consumerWord: 0,
	} {
		if got := binary.LittleEndian.Uint64(m.from.header[word:]); got != want {
			t.Fatalf("word %d of the sender is %d, want %d", word, got, want)
		}
	}
	if got := binary.LittleEndian.Uint64(m.to.header[consumerWord:]); got != uint64(m.sent-len(m.queue)) {
		t.Fatalf("consumer is %d, want %d", got, m.sent-len(m.queue))
	}
}

func TestEndsAgainstAModel(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		rapid.Check(t, func(rt *rapid.T) {
			m := &machine{free: size}
			m.from, m.to = d.pair(t, size)
			rt.Repeat(map[string]func(*rapid.T){
				"commit": m.commit, "receive": m.receive, "peek": m.peek,
				"space": m.space, "want": m.want, "flush": m.flush, "": m.check,
			})
		})
	})
}
