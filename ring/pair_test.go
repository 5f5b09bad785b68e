package ring_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"xvsock/ring"
)

// kind is an arrangement of pages between two ends.
type kind string

const (
	copyMode  kind = "peer link by copy"
	mapMode   kind = "peer link mapped"
	frontLink kind = "front link"
)

// direction is one of the four ways in which a byte can travel.
type direction struct {
	name     string
	kind     kind
	backward bool // from b to a: on a front link, from the backend
}

var directions = []direction{
	{"peer link by copy", copyMode, false},
	{"peer link mapped", mapMode, false},
	{"front link from the frontend", frontLink, false},
	{"front link from the backend", frontLink, true},
}

// pair returns a new sender and receiver.
func (d direction) pair(t testing.TB, size int) (from, to *side) {
	a, b := newPair(t, d.kind, size)
	if d.backward {
		return b, a
	}
	return a, b
}

// byCopy says that the receiver copies, so that it gives room back at the Peek; where
// it reads in place it does so at the Discard.
func (d direction) byCopy() bool { return d.kind != mapMode && !d.backward }

func forEachDirection(t *testing.T, f func(t *testing.T, d direction)) {
	for _, d := range directions {
		t.Run(d.name, func(t *testing.T) { f(t, d) })
	}
}

// side is one End with the memory that it works on. Both sides use the same
// slices, so that the race detector checks the protocol.
type side struct {
	*ring.End
	header []byte
	peer   *copier

	notifyTx, notifyRx atomic.Int64 // notifies sent
	onNotify           func()       // called with each; set before use
}

func (s *side) config(size int) ring.Config {
	notify := func(n *atomic.Int64) func() error {
		return func() error {
			n.Add(1)
			if s.onNotify != nil {
				s.onNotify()
			}
			return nil
		}
	}
	return ring.Config{
		Header: s.header, TxSize: size, RxSize: size, Peer: s.peer,
		NotifyTx: notify(&s.notifyTx), NotifyRx: notify(&s.notifyRx),
	}
}

func newHeader(t testing.TB) []byte {
	page := make([]byte, ring.HeaderSize)
	if err := ring.Format(page, ring.Static{Generation: 7}); err != nil {
		t.Fatal(err)
	}
	return page
}

func newPair(t testing.TB, kind kind, size int) (a, b *side) {
	ab, ba := make([]byte, size), make([]byte, size)
	a, b = &side{header: newHeader(t)}, &side{header: newHeader(t)}
	a.peer, b.peer = &copier{header: b.header}, &copier{header: a.header}
	ca, cb := a.config(size), b.config(size)
	switch kind {
	case copyMode:
		ca.TxPages, cb.TxPages = ab, ba
		a.peer.rx, b.peer.rx = ba, ab
	case mapMode:
		ca.TxPages, ca.RxPages, ca.PeerHeader = ab, ba, b.header
		cb.TxPages, cb.RxPages, cb.PeerHeader = ba, ab, a.header
	case frontLink:
		ca.TxPages, ca.RxPages = ab, ba
		b.peer.rx, b.peer.tx = ab, ba
	}
	var err error
	if a.End, err = ring.New(ca); err != nil {
		t.Fatal(err)
	}
	if b.End, err = ring.New(cb); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// copier copies out of the other side's slices, and is as strict as Xen.
type copier struct {
	header, rx, tx []byte

	calls, segments, bytes atomic.Int64

	// before, if set, is called before each segment; its error is the copy's.
	before func(i int, s ring.Segment) error
	// between, if set, is called before each byte of a header, which is then
	// copied bytewise and ascending, as Xen may do.
	between func(i int)
	// idle makes every copy return success without copying (XSA-318).
	idle bool
}

var errSegment = errors.New("segment that Xen refuses")

func (c *copier) Copy(segs []ring.Segment) error {
	c.calls.Add(1)
	c.segments.Add(int64(len(segs)))
	if len(segs) == 0 || len(segs) > 16 {
		return fmt.Errorf("%d segments: %w", len(segs), errSegment)
	}
	for i, s := range segs {
		if c.before != nil {
			if err := c.before(i, s); err != nil {
				return err
			}
		}
		if c.idle {
			continue
		}
		if err := c.segment(s); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) segment(s ring.Segment) error {
	area := map[ring.Area][]byte{ring.AreaHeader: c.header, ring.AreaRx: c.rx, ring.AreaTx: c.tx}[s.Area]
	n := len(s.Local)
	if n == 0 || s.Offset < 0 || s.Offset+n > len(area) || s.Offset/4096 != (s.Offset+n-1)/4096 {
		return fmt.Errorf("area %d, %d bytes at %d: %w", s.Area, n, s.Offset, errSegment)
	}
	if s.Write != (s.Area == ring.AreaTx) {
		return fmt.Errorf("area %d, write %v: %w", s.Area, s.Write, errSegment)
	}
	foreign := area[s.Offset : s.Offset+n]
	switch {
	case s.Write:
		c.bytes.Add(int64(n))
		rawCopy(foreign, s.Local)
	case s.Area == ring.AreaRx:
		c.bytes.Add(int64(n))
		rawCopy(s.Local, foreign)
	case c.between != nil:
		for i := range s.Local {
			c.between(i)
			s.Local[i] = foreign[i]
		}
	default:
		ring.ReadWords(s.Local, area, s.Offset)
	}
	return nil
}

// rawCopy copies as the hypervisor does, unseen by the race detector:
// speculative reads run beside the owner's writes by design, and what they
// bring is only used once it is known to be published. The built-in copy would
// report to the race detector by itself.
//
//go:norace
//go:noinline
func rawCopy(dst, src []byte) {
	for i := range dst {
		dst[i] = src[i]
	}
}

// The words of a header, as a peer that lies writes them.
const (
	stateWord    = 64
	producerWord = 72
	consumerWord = 88
	wantWord     = 104
	awakeWord    = 108
)

func setPosition(header []byte, word int, n uint64) {
	binary.LittleEndian.PutUint64(header[word+8:], ^n)
	binary.LittleEndian.PutUint64(header[word:], n)
}

func setWord32(header []byte, word int, n uint32) {
	binary.LittleEndian.PutUint32(header[word:], n)
}

// send commits payload and fails the test if there is no room.
func (s *side) send(t testing.TB, payload []byte) {
	t.Helper()
	a, b := s.Reserve(len(payload))
	if len(a)+len(b) != len(payload) {
		t.Fatalf("reserved %d+%d bytes of %d", len(a), len(b), len(payload))
	}
	copy(b, payload[copy(a, payload):])
	if err := s.Commit(len(payload)); err != nil {
		t.Fatal(err)
	}
}

// fetch fetches once and fails the test on an error.
func (s *side) fetch(t testing.TB) (news bool) {
	t.Helper()
	news, err := s.Fetch()
	if err != nil {
		t.Fatal(err)
	}
	return news
}

// peek returns what Peek shows, joined.
func (s *side) peek(t testing.TB, n int) []byte {
	t.Helper()
	a, b, err := s.Peek(n)
	if err != nil {
		t.Fatal(err)
	}
	return append(append([]byte(nil), a...), b...)
}

// take takes n bytes, and fails the test if they are not there.
func (s *side) take(t testing.TB, n int) {
	t.Helper()
	if got := len(s.peek(t, n)); got < n {
		t.Fatalf("%d bytes are there, want %d", got, n)
	}
	s.Discard(n)
}

// flush flushes and returns how many notifies that sent for data and space.
func (s *side) flush(t testing.TB) (tx, rx int64) {
	t.Helper()
	tx, rx = s.notifyTx.Load(), s.notifyRx.Load()
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	return s.notifyTx.Load() - tx, s.notifyRx.Load() - rx
}

// pattern returns n bytes that tell their place in the stream.
func pattern(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		at := uint32(from + i)
		b[i] = byte((at * 2654435761) >> 24)
	}
	return b
}
