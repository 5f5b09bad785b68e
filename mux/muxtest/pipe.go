// Package muxtest is a link in memory, for tests of what is built on links: two
// byte rings that behave as package mux's Transport says and no better. The
// other side hears of nothing before Flush, and a sender knows of no room that
// was made since its last Look, so code that relies on more fails here.
package muxtest

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// ErrGone is what an End returns after the other one has failed.
var ErrGone = errors.New("other side gone")

// End is one side of a link in memory. It implements mux.Transport.
type End struct {
	mu   *sync.Mutex // of both ends
	peer *End

	tx      []byte // owned by this end, read by the other
	written uint64 // bytes committed to tx
	taken   uint64 // bytes of tx the other end has discarded
	known   uint64 // taken, as of the last Look
	want    uint64 // bytes of tx wanted free
	size    int    // of the last Reserve
	flush   bool   // something for the other end to look at

	looks int
	hot   atomic.Bool
	seen  uint64 // written of the peer, as of the last look for news

	wake  chan struct{} // one token
	timer *time.Timer
	err   error
	most  int
}

// Pipe returns the two ends of a link with rings of size bytes, a power of two
// and at least 4096.
func Pipe(size int) (*End, *End) {
	mu := new(sync.Mutex)
	a, b := newEnd(mu, size), newEnd(mu, size)
	a.peer, b.peer = b, a
	return a, b
}

func newEnd(mu *sync.Mutex, size int) *End {
	e := &End{
		mu:    mu,
		tx:    make([]byte, size),
		wake:  make(chan struct{}, 1),
		timer: time.NewTimer(0),
		most:  min(64<<10, size/4),
	}
	e.timer.Stop()
	return e
}

// Peek implements mux.Transport.
func (e *End) Peek(int) (a, b []byte, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.peer
	a, b = pieces(p.tx, p.taken, int(p.written-p.taken))
	return a, b, e.err
}

// pieces returns n bytes of the ring from position pos.
func pieces(ring []byte, pos uint64, n int) (a, b []byte) {
	at := int(pos % uint64(len(ring)))
	if at+n <= len(ring) {
		return ring[at : at+n], nil
	}
	return ring[at:], ring[:at+n-len(ring)]
}

// Discard implements mux.Transport.
func (e *End) Discard(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.peer
	if uint64(n) > p.written-p.taken {
		panic("muxtest: Discard of more than there is")
	}
	p.taken += uint64(n)
	if p.granted() {
		e.flush = true
	}
}

// granted says whether the room this end wants is there. A wish is granted once.
func (e *End) granted() bool { return e.want != 0 && e.free() >= e.want }

func (e *End) free() uint64 { return uint64(len(e.tx)) - (e.written - e.taken) }

// Free implements mux.Transport.
func (e *End) Free() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.room()
}

// room is Free, as of the last look.
func (e *End) room() int { return len(e.tx) - int(e.written-e.known) }

// Reserve implements mux.Transport.
func (e *End) Reserve(n int) (a, b []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.size = 0
	if n > e.room() {
		return nil, nil
	}
	e.size = n
	return pieces(e.tx, e.written, n)
}

// Commit implements mux.Transport.
func (e *End) Commit(n int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n != e.size {
		panic("muxtest: Commit without Reserve")
	}
	if e.err != nil {
		return e.err
	}
	e.written += uint64(n)
	e.size = 0
	e.flush = true
	return nil
}

// Want implements mux.Transport.
func (e *End) Want(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.want = uint64(n)
	if n != 0 {
		e.flush = true
	}
}

// Flush implements mux.Transport.
func (e *End) Flush() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.flush {
		return nil
	}
	e.flush = false
	e.peer.signal()
	if e.peer.granted() {
		e.peer.want = 0
	}
	// The other end looks, and sees a wish that is granted already.
	if e.granted() {
		e.signal()
		e.want = 0
	}
	return nil
}

func (e *End) signal() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Sleep implements mux.Transport.
func (e *End) Sleep(d time.Duration) error {
	var after <-chan time.Time
	if d > 0 {
		e.timer.Reset(d)
		after = e.timer.C
	}
	select {
	case <-e.wake:
	case <-after:
	}
	e.timer.Stop()
	return e.Err()
}

// Look implements mux.Transport.
func (e *End) Look() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known = e.taken
	return e.err
}

// Hot implements mux.Transport. Nothing is, unless Heat says so.
func (e *End) Hot() bool { return e.hot.Load() }

// Heat has this end poll: its Poll looks so often before it gives up. It is called
// before the first use.
func (e *End) Heat(looks int) {
	e.looks = looks
	e.hot.Store(looks > 0)
}

// Poll implements mux.Transport.
func (e *End) Poll() (news bool, err error) {
	for range e.looks {
		if news, err = e.news(); news || err != nil {
			return news, err
		}
		runtime.Gosched()
	}
	return e.Rest()
}

// Rest implements mux.Transport.
func (e *End) Rest() (news bool, err error) { return e.news() }

// news is Look, and says whether there is something that the last one did not see.
func (e *End) news() (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	news := e.known != e.taken || e.peer.written != e.seen
	e.known, e.seen = e.taken, e.peer.written
	return news, e.err
}

// Wake implements mux.Transport.
func (e *End) Wake() { e.signal() }

// MaxPayload implements mux.Transport.
func (e *End) MaxPayload() int { return e.most }

// Fail implements mux.Transport.
func (e *End) Fail(reason error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range []struct {
		end *End
		err error
	}{{e, reason}, {e.peer, ErrGone}} {
		if f.end.err == nil {
			f.end.err = f.err
			f.end.signal()
		}
	}
}

// Err returns why the link has ended on this side, or nil.
func (e *End) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// Lying returns how many bytes lie in the ring of this end, not yet taken by
// the other.
func (e *End) Lying() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return int(e.written - e.taken)
}
