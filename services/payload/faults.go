package payload

import (
	"fmt"
	"sync"
	"time"
)

const (
	// faultTime is how short the life of a program is that cannot work.
	faultTime = time.Second
	// faultLimit is how many such in a row end the service.
	faultLimit = 5
)

// faults are the ends of programs, one a connection, that say that the program cannot
// work at all. So that no peer can take a service away from the others, an end counts
// only if the peer had no part in it; and as long as the last connection of some
// domain went well, those of one other domain alone prove nothing.
type faults struct {
	mu   sync.Mutex
	last error // the last failed end, whether it counts or not

	row   int    // ends that count, one after the other
	first uint16 // domain of the first in the row
	mixed bool   // another domain has some in the row

	known bool // some connection went well
	well  uint16
}

// Faults implements services.Faulter.
func (f *faults) Faults() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// begin begins a life of the service.
func (f *faults) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.row = 0
}

// note takes how a program of a domain ended, and how long it lived; own says that
// the peer had no part in it. It returns an error if the service is to end.
func (f *faults) note(domain uint16, end error, took time.Duration, own bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if end != nil {
		f.last = end
	}
	switch {
	case end == nil || took > faultTime:
		f.row, f.known, f.well = 0, true, domain
		return nil
	case !own:
		return nil
	}
	if f.row++; f.row == 1 {
		f.first, f.mixed = domain, false
	}
	f.mixed = f.mixed || domain != f.first
	if domain == f.well {
		f.known = false
	}
	if f.row < faultLimit || f.known && !f.mixed {
		return nil
	}
	return fmt.Errorf("%d programs in a row failed at once, the last: %w", f.row, end)
}
