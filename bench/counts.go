package bench

import (
	"runtime"
	"syscall"
)

// What Result.Per says.
const (
	perTrip       = "round trip"
	perConnection = "connection"
	perMiB        = "MiB"
)

// Counters are numbers that only ever grow, by their names: what a link, or whatever
// else is measured, counts beside.
type Counters map[string]uint64

// per returns how much each counter grew since before, for each of n; nothing where
// n is 0. A counter that before has not, or that has become less because it is another
// link's, is left out.
func (c Counters) per(before Counters, n float64) map[string]float64 {
	all := make(map[string]float64, len(c))
	for name, now := range c {
		if was, known := before[name]; known && now >= was && n > 0 {
			all[name] = float64(now-was) / n
		}
	}
	return all
}

// mark is the state of the counters at one moment.
type mark struct {
	mallocs  uint64
	counters Counters
}

// What every process counts: how often its threads left the processor, and how long
// they were on it.
const (
	countSwitches = "switches"
	countCPU      = "cpu_ns"
)

// before returns the state before what is measured: allocations are counted last.
func (t *trial) before() (m mark) {
	m.counters = t.counters()
	m.mallocs = mallocs()
	return m
}

// after puts into the result what has grown since m: for each of n, which is what per
// calls it, and allocations for each of r.Count.
func (m mark) after(t *trial, r *Result, n float64, per string) {
	took := mallocs() - m.mallocs
	if r.Count > 0 {
		r.Allocs = float64(took) / float64(r.Count)
	}
	r.Counts, r.Per = t.counters().per(m.counters, n), per
}

// counters are those of the process and those beside.
func (t *trial) counters() Counters {
	all := make(Counters)
	if t.look != nil {
		for name, n := range t.look() {
			all[name] = n
		}
	}
	var use syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &use) == nil {
		all[countSwitches] = uint64(use.Nvcsw + use.Nivcsw)
		all[countCPU] = uint64(use.Utime.Nano() + use.Stime.Nano())
	}
	return all
}

// mallocs is how many objects this process has taken from the heap.
func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}
