package mux

import (
	"math"
	"sync/atomic"
)

// Sizes of the send side, in bytes of the ring.
const (
	// maxTurn is what a connection may put into the ring before the next
	// waiting one has its turn, and what may lie there of one connection's
	// data while another has data too.
	maxTurn = 32 << 10
	// maxRing is the largest ring of a link.
	maxRing = 1 << 20
	// leastPart is the least of a ring's free room that a shorter frame than there is
	// data for fills, in parts of the ring, and leastFrame bounds it.
	leastPart  = 8
	leastFrame = 8 << 10
)

// sender is the send side of a session. All of it, and the send state of the
// connections, is guarded by Session.mu. Three kinds of frames wait for room
// here, in order of their right of way: control frames, of which a connection
// holds one bit a kind; resets of tuples that nobody owns, a bounded list; and
// the data of blocked writers, in turns.
type sender struct {
	t       Transport
	err     error // the link's, after which nothing is sent
	seq     uint32
	control queue // tuples with pending control frames
	resets  resetList
	data    queue // tuples with data and credit for it

	capacity  int // of the ring
	maxFrame  int // bytes of payload a turn
	least     int // bytes of free room that a shorter frame fills
	committed uint64
	last      tuple  // whose data went in last
	lastEnd   uint64 // where it ends in the ring's stream
	otherEnd  uint64 // where the last data of another connection ends
	blocked   int    // bytes that a frame found no room for; 0: none
	limited   int    // bytes that must be free before a connection gets more than its share
	wanted    int    // as last told to the transport
	wantedAt  uint64 // committed then

	sent traffic
}

func (x *sender) init(t Transport) {
	x.t = t
	x.maxFrame = min(t.MaxPayload(), maxTurn-headerSize)
	x.capacity = t.Free() // the ring is still empty
	x.least = min(x.capacity/leastPart, leastFrame)
}

// drain sends what waits, as far as there is room. Nothing overtakes data but
// control frames of other connections.
func (x *sender) drain() {
	if x.err != nil {
		return
	}
	x.blocked = 0
	for again := true; again; again = x.blocked == 0 && x.err == nil && x.control.n > 0 {
		x.sendControl()
		x.sendResets()
		x.sendData()
	}
	want := x.blocked
	if want == 0 {
		want = x.limited
	}
	if want != x.wanted && x.err == nil {
		x.wanted, x.wantedAt = want, x.committed
		x.t.Want(want)
	}
}

// idle says that nothing waits to be sent.
func (x *sender) idle() bool { return x.control.n == 0 && x.resets.n == 0 && x.data.n == 0 }

// clear says that a frame may go at once: nothing waits that it would overtake.
func (x *sender) clear() bool { return x.err == nil && x.idle() && x.wanted == 0 }

// retry makes the next drain ask for room again even if it is for as much as
// before: the last wish was granted, but another frame took the room, or the look at
// it came to nothing. With spare it does not if there is no room and no frame took
// any.
func (x *sender) retry(spare bool) {
	if x.wanted <= 0 {
		return
	}
	if spare && x.committed == x.wantedAt {
		if x.t.Free() < x.wanted {
			return
		}
	}
	x.wanted = -1
}

// emit puts one frame into the ring. If there is no room it sets blocked and
// returns false.
func (x *sender) emit(h header, payload []byte) bool {
	if x.blocked != 0 || x.err != nil {
		return false
	}
	size := frameSize(len(payload))
	a, b := x.t.Reserve(size)
	if len(a)+len(b) == 0 {
		x.blocked = size
		return false
	}
	h.seq = x.seq
	h.size = uint32(len(payload))
	h.write(a, b, payload)
	if err := x.t.Commit(size); err != nil {
		x.err = err
		x.t.Wake()
		return false
	}
	x.seq++
	x.committed += uint64(size)
	x.sent.add(len(payload))
	return true
}

func (x *sender) sendControl() {
	for nd := x.control.head; nd != nil; nd = x.control.head {
		if !nd.lane.tenant.sendControl(x) {
			return
		}
		nd.leave()
	}
}

func (x *sender) sendResets() {
	for x.resets.n > 0 {
		r := x.resets.first()
		h := header{src: r.local, dst: r.remote, typ: r.typ, op: opReset, flags: uint32(r.reason)}
		if !x.emit(h, nil) {
			return
		}
		x.resets.pop()
	}
}

// sendData gives the waiting connections their turns. A connection that has its
// share in the ring already lets the others pass.
func (x *sender) sendData() {
	x.limited = 0
	need := math.MaxInt
	for passed := 0; passed < x.data.n; {
		l := x.data.head.lane
		n, ok := l.tenant.nextData(x.maxFrame)
		if !ok {
			x.data.head.leave()
			continue
		}
		n = x.fit(n)
		if free := l.share.wait(x, l.key, frameSize(n)); free != 0 {
			need = min(need, free)
			x.data.rotate()
			passed++
			continue
		}
		if !l.tenant.sendData(x, n) {
			return
		}
		passed = 0
	}
	if x.data.n > 0 {
		x.limited = need
	}
}

// fit returns how many of n bytes of data the next frame is to carry: all of them, or as
// many as fill the ring, so that a ring that holds no whole number of messages is used
// up. Where only little is free, it is better to wait.
func (x *sender) fit(n int) int {
	free := x.t.Free()
	if frameSize(n) <= free || free < x.least {
		return n
	}
	return (free - headerSize) &^ (frameAlign - 1)
}

// stray is an RST that belongs to no connection.
type stray struct {
	local, remote uint32
	typ           uint16
	reason        Reason
}

// resetList holds the strays that wait for room. When it is full the newest is
// dropped: who sends so many wrong frames and takes no answers misses some.
type resetList struct {
	list    [64]stray
	at, n   int
	dropped atomic.Uint64
}

func (l *resetList) push(r stray) {
	if l.n == len(l.list) {
		l.dropped.Add(1)
		return
	}
	l.list[(l.at+l.n)%len(l.list)] = r
	l.n++
}

func (l *resetList) first() stray { return l.list[l.at] }

func (l *resetList) pop() { l.at, l.n = (l.at+1)%len(l.list), l.n-1 }
