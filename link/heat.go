package link

import "sync/atomic"

// How long a wait is worth looking or staying awake for. All are counts of what is
// done meanwhile, not times: whatever a system call or a load costs on a machine, a
// sleep and the wake-up that ends it cost some fixed number of them.
const (
	copyTries = 16   // looks of a side that copies
	mapTries  = 4096 // looks of a side that maps
	// maxPollSkips and maxNapSkips bound how many waits pass between two attempts at
	// what does not pay. A poll is short, and only tried while naps pay.
	maxPollSkips = 3
	maxNapSkips  = 63
)

// heat is what a link has learned about how soon the other side acts. It decides how
// the next wait begins:
//
//	      a sleep was short
//	cold -------------------> hot: polls, then naps, then sleeps
//	  ^                        |
//	  +---- a nap was in vain -+
//
// What was in vain is left out the next 1, 3, 7, ... times, until it brings
// something: a link whose other side takes its time costs next to nothing, an idle
// one costs one poll and one nap, once. A processor that others of this domain want
// too makes both vain, and so ends them.
//
// It belongs to who is on duty, but for hot.
type heat struct {
	hot   atomic.Bool
	polls backoff
	naps  backoff
	off   bool // Options.NoPoll
}

// slept takes over that a sleep was ended by an event.
func (h *heat) slept(short bool) {
	if short {
		h.hot.Store(true)
	}
}

// backoff says how often to try something.
type backoff struct {
	skips int // yet to be left out
	vain  int // skips after the next attempt in vain
}

// due says whether to try now, and counts what is left out.
func (b *backoff) due() bool {
	if b.skips == 0 {
		return true
	}
	b.skips--
	return false
}

// ended takes over how an attempt has ended. most is how many are left out at most.
func (b *backoff) ended(well bool, most int) {
	if well {
		b.vain = 0
		return
	}
	b.vain = min(2*b.vain+1, most)
	b.skips = b.vain
}
