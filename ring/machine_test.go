package ring_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// machine runs both ends of one direction against a model: the bytes committed
// and not discarded, as a slice, up to a mirror full and a ring full of them.
type machine struct {
	direction
	from, to *side

	queue    []byte // committed, not discarded
	known    int    // of them, what the receiver must know of
	sent     int    // position of the producer
	consumer int    // position as far as room was given back
	seen     int    // consumer, as the sender must know it
	wanted   int    // the sender's last wish
	untold   bool   // committed, and neither fetched nor notified

	wish    int    // as the receiver must know it, 0: none or granted
	granted [3]int // the last wish that was, with the producer and the consumer then
	owed    bool   // a notify of space
}

// free is the room that the sender must know of.
func (m *machine) free() int { return size - (m.sent - m.seen) }

// taken is the position as far as bytes were discarded.
func (m *machine) taken() int { return m.sent - len(m.queue) }

// giveBack is where the receiver gives the room before a position back.
func (m *machine) giveBack(pos int) {
	if pos > m.consumer {
		m.consumer = pos
		m.grant()
	}
}

// grant is W2: a wish that was fetched is answered as soon as so much is free.
func (m *machine) grant() {
	produced := m.taken() + m.known
	if m.wish > 0 && size-(produced-m.consumer) >= m.wish {
		m.granted = [3]int{m.wish, produced, m.consumer}
		m.wish, m.owed = 0, true
	}
}

func (m *machine) commit(t *rapid.T) {
	n := rapid.IntRange(1, size).Draw(t, "n")
	a, b := m.from.Reserve(n)
	if (a != nil) != (n <= m.free()) {
		t.Fatalf("Reserve(%d) gives %d+%d bytes, %d are free", n, len(a), len(b), m.free())
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
	m.sent, m.untold = m.sent+n, true
}

func (m *machine) receive(t *rapid.T) {
	news, err := m.to.Fetch()
	if err != nil || news != (len(m.queue) > m.known) {
		t.Fatalf("Fetch: %v, %v; %d bytes known of %d", news, err, m.known, len(m.queue))
	}
	m.known = len(m.queue)
	m.untold = false
	m.wish = m.wanted
	if m.granted == [3]int{m.wish, m.sent, m.consumer} {
		m.wish = 0
	}
	m.grant()
}

func (m *machine) peek(t *rapid.T) {
	least := rapid.IntRange(0, size+1).Draw(t, "min")
	a, b, err := m.to.Peek(least)
	if err != nil {
		t.Fatal(err)
	}
	got := append(append([]byte(nil), a...), b...)
	if len(got) > m.known || len(got) < min(least, m.known, size) || !m.byCopy() && len(got) != m.known {
		t.Fatalf("Peek(%d) shows %d bytes, %d are known", least, len(got), m.known)
	}
	if !bytes.Equal(got, m.queue[:len(got)]) {
		t.Fatal("Peek shows other bytes")
	}
	if m.byCopy() {
		m.giveBack(m.taken() + len(got) - 1) // the last one once all were discarded
	}
	n := rapid.IntRange(0, len(got)).Draw(t, "discard")
	m.to.Discard(n)
	m.queue, m.known = m.queue[n:], m.known-n
	m.giveBack(m.taken())
}

func (m *machine) space(t *rapid.T) {
	news, err := m.from.Fetch()
	if err != nil || news != (m.consumer > m.seen) {
		t.Fatalf("Fetch: %v, %v; %d bytes were given back", news, err, m.consumer-m.seen)
	}
	m.seen = m.consumer
}

func (m *machine) want(t *rapid.T) {
	m.wanted = rapid.IntRange(0, size).Draw(t, "want")
	m.from.Want(m.wanted)
}

// flush checks W1 and W2: without polling, what the receiver has not fetched is
// always notified, and room once if it is wanted.
func (m *machine) flush(t *rapid.T) {
	before := m.from.notifyTx.Load()
	if err := m.from.Flush(); err != nil {
		t.Fatal(err)
	}
	if m.untold && m.from.notifyTx.Load() == before {
		t.Fatal("committed since the last Fetch and Flush, and no notify")
	}
	m.untold = false
	before = m.to.notifyRx.Load()
	if err := m.to.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := m.to.notifyRx.Load() > before; got != m.owed {
		t.Fatalf("notify of space: %v, want %v", got, m.owed)
	}
	m.owed = false
}

func (m *machine) check(t *rapid.T) {
	if m.to.Drained() != (m.known == 0) {
		t.Fatalf("Drained is %v, %d bytes are known", m.to.Drained(), m.known)
	}
	if got := m.from.Free(); got != m.free() {
		t.Fatalf("Free is %d, want %d", got, m.free())
	}
	if want := m.wanted > 0 && m.free() >= m.wanted; m.from.Granted() != want {
		t.Fatalf("Granted is %v, %d wanted of %d", !want, m.wanted, m.free())
	}
	for word, want := range map[int]uint64{
		producerWord: uint64(m.sent),
		consumerWord: 0,
	} {
		if got := binary.LittleEndian.Uint64(m.from.header[word:]); got != want {
			t.Fatalf("word %d of the sender is %d, want %d", word, got, want)
		}
	}
	if got := binary.LittleEndian.Uint64(m.to.header[consumerWord:]); got != uint64(m.consumer) {
		t.Fatalf("consumer is %d, want %d", got, m.consumer)
	}
}

func TestEndsAgainstAModel(t *testing.T) {
	forEachDirection(t, func(t *testing.T, d direction) {
		rapid.Check(t, func(rt *rapid.T) {
			m := &machine{direction: d}
			m.from, m.to = d.pair(t, size)
			rt.Repeat(map[string]func(*rapid.T){
				"commit": m.commit, "receive": m.receive, "peek": m.peek,
				"space": m.space, "want": m.want, "flush": m.flush, "": m.check,
			})
		})
	})
}
