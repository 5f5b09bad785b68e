package mux

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
)

// The receive memory of a connection: what is advertised first, what it may
// grow to, and the first piece really allocated. Powers of two.
const (
	startWindow = 64 << 10 // or less, see Budget.begin
	maxWindow   = 256 << 10
	startBuffer = 4 << 10 // or less, where the window is
	bulkFrame   = 4 << 10 // a stream's
)

// receiver is the receiving half of a Conn: a byte ring that the pump fills and
// the reader empties. It advertises a window and allocates up to that as data
// comes; the window doubles when it was the window that held the sender back,
// and never shrinks.
type receiver struct {
	mu      sync.Mutex
	cond    sync.Cond // of readers
	waiting int       // readers asleep

	buf    []byte // power of two
	got    uint32 // bytes received, wraps
	taken  uint32 // bytes read, wraps: fwd_cnt
	window uint32 // bytes advertised: buf_alloc
	budget *Budget
	booked int64 // bytes of budget held

	dest   []byte // of the Read that waits, filled up to placed; nil: none waits
	placed int

	ready  bool  // the other side may send
	eof    bool  // nothing more will come or be taken
	last   bool  // when this is read, the connection is over
	tight  bool  // the sender came near the end of the window
	closed bool  // by Close
	shut   bool  // by Close or CloseRead: what comes is dropped
	err    error // for Read, once the buffer is empty

	deadline deadline

	offer atomic.Uint64 // window << 32 | taken, to be stamped on frames
	told  atomic.Uint64 // the offer last stamped
}

// init books the first window of a connection of the local port, and returns false if
// there is no budget.
func (r *receiver) init(b *Budget, local uint32) bool {
	window := b.begin(local)
	if window == 0 {
		return false
	}
	r.cond.L = &r.mu
	r.budget, r.booked, r.window = b, window, uint32(window)
	r.offer.Store(uint64(window) << 32)
	return true
}

// stamp returns buf_alloc and fwd_cnt for a frame that enters the ring.
func (r *receiver) stamp() (bufAlloc, fwdCnt uint32) {
	o := r.offer.Load()
	r.told.Store(o)
	return uint32(o >> 32), uint32(o)
}

// fill copies the payload a, b in, each byte once. It returns what is wrong
// with the frame, or "".
func (r *receiver) fill(a, b []byte) (wrong string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := uint32(len(a) + len(b))
	switch {
	case r.err != nil || r.shut:
		return "" // it may have been under way
	case !r.ready:
		return "data before the connection"
	case r.eof:
		return "data after shutdown"
	case n > r.window-(r.got-r.taken):
		return "more data than credit"
	case n == 0:
		return ""
	}
	a, b = r.place(a, b)
	if rest := uint32(len(a) + len(b)); rest > 0 {
		r.grow(r.got - r.taken + rest)
		r.write(a)
		r.write(b)
	}
	if told := r.told.Load(); r.slows(uint32(told)+uint32(told>>32)-r.got, n) {
		r.tight = true
	}
	if r.waiting > 0 {
		r.cond.Broadcast()
	}
	return ""
}

// slows says whether the window is about to hold a sender back that has sent a frame of n
// bytes, and knows of credit for so many more. One that sends large ones is a stream: with
// half of the window under way it may wait for the next credit.
func (r *receiver) slows(credit, n uint32) bool {
	return credit < r.window/4 || n >= bulkFrame && credit <= r.window/2
}

// place puts what is next for the Read that waits where it is wanted, if nothing is
// buffered before it, and returns the rest.
func (r *receiver) place(a, b []byte) (restA, restB []byte) {
	if !r.hungry() {
		return a, b
	}
	n, m := copy(r.dest[r.placed:], a), 0
	if len(b) > 0 {
		m = copy(r.dest[r.placed+n:], b)
	}
	r.placed += n + m
	r.got += uint32(n + m)
	r.taken = r.got
	r.tell()
	return a[n:], b[m:]
}

// hungry says whether a Read waits, whose buffer has room, and nothing is buffered.
func (r *receiver) hungry() bool { return r.got == r.taken && r.placed < len(r.dest) }

func (r *receiver) write(p []byte) {
	at := int(r.got) & (len(r.buf) - 1)
	n := copy(r.buf[at:], p)
	copy(r.buf, p[n:])
	r.got += uint32(len(p))
}

// grow makes the buffer hold n bytes. Positions modulo its size stay valid as
// both are powers of two, so the old content is put where those say.
func (r *receiver) grow(n uint32) {
	size := max(len(r.buf), min(startBuffer, int(r.window)))
	for size < int(n) {
		size *= 2
	}
	if size == len(r.buf) {
		return
	}
	old, end := r.buf, r.got
	r.buf = make([]byte, size)
	r.got = r.taken
	for r.got != end {
		at := int(r.got) & (len(old) - 1)
		r.write(old[at:min(len(old), at+int(end-r.got))])
	}
}

// read is Conn.Read without what follows from it. update says that the other
// side should be told of its credit, last that the connection is over. serve is
// called without a lock before it sleeps, and may bring what it waits for.
func (r *receiver) read(p []byte, serve func()) (n int, update, last bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		switch {
		case r.closed:
			return 0, false, false, net.ErrClosed
		case r.deadline.passed():
			return 0, false, false, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, false, false, nil
		case r.got != r.taken && !r.shut:
			n = r.take(p)
			return n, r.due(), r.last && r.got == r.taken, nil
		case r.eof:
			return 0, false, false, io.EOF
		case r.err != nil:
			return 0, false, false, r.err
		}
		if n = r.wait(p, serve); n > 0 {
			return n, r.due(), r.last && r.got == r.taken, nil
		}
	}
}

// wait waits until there may be something for a Read into p, and returns how much of
// it was put there already.
func (r *receiver) wait(p []byte, serve func()) (n int) {
	mine := r.dest == nil
	if mine {
		r.dest = p
	}
	r.mu.Unlock()
	serve()
	r.mu.Lock()
	if !r.awaited(mine) {
		r.waiting++
		r.cond.Wait()
		r.waiting--
	}
	if !mine {
		return 0
	}
	if n = r.placed; n > 0 {
		r.caughtUp()
	}
	r.dest, r.placed = nil, 0
	return n
}

// awaited says whether a Read that waits would return; mine: it is the one whose
// buffer is dest.
func (r *receiver) awaited(mine bool) bool {
	return mine && r.placed > 0 || r.got != r.taken || r.eof || r.err != nil || r.closed || r.deadline.passed()
}

func (r *receiver) take(p []byte) int {
	at := int(r.taken) & (len(r.buf) - 1)
	want := min(len(p), int(r.got-r.taken))
	n := copy(p[:want], r.buf[at:])
	n += copy(p[n:want], r.buf)
	r.taken += uint32(n)
	r.caughtUp()
	return n
}

// caughtUp follows what a reader has taken. If that is all there was although the
// sender had come near the window's end, it was the window that slowed both, and
// it doubles.
func (r *receiver) caughtUp() {
	if r.got == r.taken && r.tight {
		r.tight = false
		r.widen()
	}
	r.tell()
}

// tell has the next frame say what the sender may send.
func (r *receiver) tell() {
	if o := uint64(r.window)<<32 | uint64(r.taken); o != r.offer.Load() {
		r.offer.Store(o)
	}
}

func (r *receiver) widen() {
	if r.window < maxWindow && !r.eof && r.err == nil && r.budget.grow(int64(r.window)) {
		r.booked += int64(r.window)
		r.window *= 2
	}
}

// due says whether a CREDIT_UPDATE is worth a frame: half of the window is news
// to the sender, or the sender may be about to stop and an eighth is.
func (r *receiver) due() bool {
	if r.eof || r.err != nil {
		return false
	}
	told := r.told.Load()
	known := uint32(told) + uint32(told>>32)
	news := r.taken + r.window - known
	return news >= r.window/2 || news >= r.window/8 && known-r.got < r.window/8
}

// end lets readers see err, or io.EOF where err is nil, after what is buffered. It
// returns false if they had an end before, which stays.
func (r *receiver) end(err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.eof || r.err != nil:
		return false
	case err == nil:
		r.eof = true
	default:
		r.err = err
	}
	r.cond.Broadcast()
	return true
}

// finish is end for a connection of which the other side closed both ways. It
// says whether all was read already.
func (r *receiver) finish() (empty bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.eof, r.last = true, true
	r.cond.Broadcast()
	return r.got == r.taken || r.shut
}

// drop is for CloseRead and Close: the memory goes, and what comes is dropped.
func (r *receiver) drop(closed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shut, r.eof = true, true
	r.buf, r.taken = nil, r.got
	if closed {
		r.closed = true
		r.deadline.stop()
		r.release(0)
	}
	r.cond.Broadcast()
}

// settle gives back the budget of a connection that will receive nothing more,
// but for what is buffered: only Close gives that back.
func (r *receiver) settle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.got == r.taken {
		r.buf = nil
	}
	r.release(int64(len(r.buf)))
}

func (r *receiver) release(keep int64) {
	if r.booked > keep {
		r.budget.Give(r.booked - keep)
		r.booked = keep
	}
}
