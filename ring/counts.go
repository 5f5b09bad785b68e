package ring

import "sync/atomic"

// Counts are the calls that an End has made out of this process, since it was made.
type Counts struct {
	Copies   uint64 // calls of Copier.Copy
	Segments uint64 // their segments
	Notifies uint64 // events sent
}

// counters are Counts, while they move.
type counters struct {
	copies, segments, notifies atomic.Uint64
}

// Counts may be called by any goroutine.
func (e *End) Counts() Counts {
	c := &e.counters
	return Counts{Copies: c.copies.Load(), Segments: c.segments.Load(), Notifies: c.notifies.Load()}
}

// copy executes segments.
func (e *End) copy(segs []Segment) error {
	e.counters.copies.Add(1)
	e.counters.segments.Add(uint64(len(segs)))
	return e.copier.Copy(segs)
}
