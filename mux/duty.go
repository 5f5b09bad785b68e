package mux

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// duty is the right to use the receive side of the transport. The pump has it
// when it was woken. While it sleeps, a goroutine that waits in Read or Write
// takes it, looks for itself, and so needs nobody to hand it what has come: a
// handover between goroutines costs more than all else that a message costs.
//
//	        +--take: the pump---+
//	free ---+                   +--> held --leave--> free
//	        +--take: in serve --+
//
// Who comes back from serve with what it waited for leaves a look owed: nobody
// is awake then, and the other side may rely on somebody who is. Mostly it comes
// again at once. The pump is called, and looks if it finds the duty free.
//
// No look is lost: who finds the duty held has said before that one is owed,
// and who leaves it looks at that after.
type duty struct {
	mu      sync.Mutex // the duty
	owed    atomic.Bool
	called  atomic.Bool   // the pump has been, and did not answer yet
	call    func()        // wakes the pump
	serves  atomic.Uint64 // how often others than the pump have taken it
	shared  bool          // there is more than one processor
	retired bool          // nobody takes it any more; under mu

	now   time.Time // as of a short while ago; under mu
	ticks int       // since then; under mu
	wait  int       // ticks of a piece of work for which the transport has waited
}

const (
	// courtesy and maxCourtesy are how long the pump lets others come back to the duty
	// before it takes it up itself: the first time, and once they have come back again
	// and again. On one processor it lets them run once.
	courtesy    = 50 * time.Microsecond
	maxCourtesy = time.Millisecond
	// courtesies is how often: some 5 ms in all.
	courtesies = 8
	// clockTicks is how many pieces of work share one look at the clock, which in
	// some domains is a system call; one for which the transport has waited counts as
	// waitTicks, or mappedTicks where a look costs next to nothing. Either makes some
	// milliseconds.
	clockTicks  = 1024
	waitTicks   = 8
	mappedTicks = 1
)

// init is called before use; call wakes the pump.
func (d *duty) init(call func()) {
	d.call = call
	d.shared = runtime.GOMAXPROCS(0) > 1
	if d.wait == 0 {
		d.wait = waitTicks
	}
}

// take takes the duty if it is free and nobody has retired. If it does not, who
// has it calls the pump when it leaves.
func (d *duty) take() bool {
	if !d.mu.TryLock() {
		d.owed.Store(true)
		if !d.mu.TryLock() { // again: who had it may have looked at owed before
			return false
		}
	}
	if d.retired {
		d.mu.Unlock()
		return false
	}
	return true
}

// pay is for the pump on duty: all that was owed so far is paid by the look and the
// turn that follow. What one in serve does is less.
func (d *duty) pay() { d.owed.Store(false) }

// leave gives the duty up.
func (d *duty) leave() {
	d.mu.Unlock()
	if d.owed.Load() && !d.called.Load() && !d.called.Swap(true) {
		d.call()
	}
}

// owe says that a look is owed.
func (d *duty) owe() {
	if !d.owed.Load() {
		d.owed.Store(true)
	}
}

// answer is what the pump does when it was called, before it takes the duty: it waits
// until nobody comes back to it any more. So it is called once for all of a row of
// messages, and disturbs none. It returns true if the row goes on for long: then the
// pump is to look in between, and to answer again.
func (d *duty) answer() (busy bool) {
	if !d.called.Load() {
		return false
	}
	wait, n := courtesy, d.serves.Load()
	for range courtesies {
		if d.shared {
			time.Sleep(wait)
		} else {
			runtime.Gosched()
		}
		now := d.serves.Load()
		if now == n {
			d.called.Store(false)
			return false
		}
		n, wait = now, min(2*wait, maxCourtesy)
	}
	return true
}

// retire ends all use of the transport by others than the caller, which is the
// pump at its end.
func (d *duty) retire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retired = true
}

// tick counts a piece of work, and looks at the clock now and then, which it says.
func (d *duty) tick(ticks int) bool {
	if d.ticks += ticks; d.ticks < clockTicks {
		return false
	}
	d.ticks, d.now = 0, time.Now()
	return true
}
