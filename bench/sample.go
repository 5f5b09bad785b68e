package bench

import (
	"slices"
	"time"
)

// maxSample is how many times a sample keeps; it is even.
const maxSample = 1 << 17

// sample is a set of times, of which percentiles are asked. Its memory is taken once.
// When it is full every second of its times is left out, and from then on only every
// second, fourth, eighth of those that come is kept: all parts of a run count alike.
// Number, sum and the extremes are those of all.
type sample struct {
	kept  []time.Duration
	every uint64 // of those that come, one is kept
	n     uint64
	sum   time.Duration
	min   time.Duration
	max   time.Duration
}

// newSample returns an empty sample.
func newSample() *sample { return &sample{kept: make([]time.Duration, 0, maxSample), every: 1} }

// reset empties the sample.
func (s *sample) reset() { *s = sample{kept: s.kept[:0], every: 1} }

// add puts one time in. It allocates nothing.
func (s *sample) add(d time.Duration) {
	if s.n == 0 || d < s.min {
		s.min = d
	}
	s.max = max(s.max, d)
	s.sum += d
	if s.n%s.every == 0 {
		if len(s.kept) == maxSample {
			s.thin() // n is a multiple of the new every too
		}
		s.kept = append(s.kept, d)
	}
	s.n++
}

// thin leaves out every second time.
func (s *sample) thin() {
	for i := 0; 2*i < len(s.kept); i++ {
		s.kept[i] = s.kept[2*i]
	}
	s.kept = s.kept[:len(s.kept)/2]
	s.every *= 2
}

// percentiles returns what is known of the times, nil if there is none. It changes
// the order of the sample, which takes no more times then.
func (s *sample) percentiles() *Percentiles {
	if s == nil || s.n == 0 {
		return nil
	}
	slices.Sort(s.kept)
	at := func(q float64) float64 { return micros(s.kept[int(q*float64(len(s.kept)-1)+0.5)]) }
	return &Percentiles{
		Samples: s.n, Min: micros(s.min), P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999),
		Max: micros(s.max), Mean: micros(s.sum) / float64(s.n),
	}
}

// micros is a time in microseconds.
func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
