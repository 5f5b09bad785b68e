package link

import "sync/atomic"

// Counts are what this side of a link has done since it was made: what a message
// costs besides the time of this process.
type Counts struct {
	Copies   uint64 // hypercalls that copy from the other side's pages, or to them
	Segments uint64 // pieces of pages that these have copied
	Notifies uint64 // events sent to the other side
	Polls    uint64 // waits that began with looking
	Naps     uint64 // waits in the waiter's own thread, for a few milliseconds at most
	Sleeps   uint64 // waits of the goroutine that is woken by others
}

// waits counts how this side has waited.
type waits struct{ polls, naps, sleeps atomic.Uint64 }

// Counts may be called by any goroutine.
func (l *Link) Counts() Counts {
	c := l.end.Counts()
	return Counts{
		Copies: c.Copies, Segments: c.Segments, Notifies: c.Notifies,
		Polls: l.waits.polls.Load(), Naps: l.waits.naps.Load(), Sleeps: l.waits.sleeps.Load(),
	}
}
