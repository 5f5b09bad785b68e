package link

import "sync/atomic"

// How long a wait is worth looking or staying awake for. All are counts of what is
// done meanwhile, not times: whatever a system call or a load costs on a machine, a
// sleep and the wake-up that ends it cost some fixed number of them.
const (
	copyTries = 16   // looks of a side that copies
	mapTries  = 4096 // looks of a side that maps
	// maxSkips bounds how many waits pass between two attempts to poll where polling
	// does not pay.
	maxSkips = 63
)

// heat is what a link has learned about how soon the other side acts. It decides how
// the next wait begins:
//
//	         a sleep was short                polling pays
//	cold ---------------------> naps only ----------------> polls, then naps
//	  ^                             |                            |
//	  +------ a nap was in vain ----+------- as before ----------+
//
// After a poll in vain the next ones are left out, 1, 3, 7, ... 63 of them, until
// one brings something: a link whose other side takes its time costs next to
// nothing, an idle one costs one poll and one nap, once. A processor that others
// want too makes polls vain, and so ends them.
//
// It belongs to who is on duty, but for hot.
type heat struct {
	hot   atomic.Bool // not cold
	skips int         // polls yet to be left out
	vain  int         // skips after the next poll in vain
	off   bool        // Options.NoPoll
}

// polls says whether to poll now, and counts a poll that is left out.
func (h *heat) polls() bool {
	if h.off || !h.hot.Load() {
		return false
	}
	if h.skips > 0 {
		h.skips--
		return false
	}
	return true
}

// polled takes over how a poll has ended.
func (h *heat) polled(news bool) {
	if news {
		h.vain = 0
		return
	}
	h.vain = min(2*h.vain+1, maxSkips)
	h.skips = h.vain
}

// slept takes over that a sleep was ended by an event.
func (h *heat) slept(short bool) {
	if short {
		h.hot.Store(true)
	}
}
