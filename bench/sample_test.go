package bench

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestPercentilesAreThoseOfTheTimes(t *testing.T) {
	s := newSample()
	for _, i := range rand.Perm(1001) {
		s.add(time.Duration(i) * time.Microsecond)
	}
	want := Percentiles{Samples: 1001, Min: 0, P50: 500, P90: 900, P99: 990, P999: 999, Max: 1000, Mean: 500}
	if got := *s.percentiles(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	s.reset()
	s.add(7 * time.Microsecond)
	if got := *s.percentiles(); got != (Percentiles{1, 7, 7, 7, 7, 7, 7, 7}) {
		t.Errorf("of one time: %+v", got)
	}
	if s.reset(); s.percentiles() != nil || (*sample)(nil).percentiles() != nil {
		t.Error("there are percentiles of nothing")
	}
}

// A sample that is full keeps times of the whole run, alike, and takes no memory.
func TestAFullSampleIsThinnedAlike(t *testing.T) {
	s := newSample()
	const n = 5*maxSample + 77
	next := 0
	if allocs := testing.AllocsPerRun(1, func() {
		s.reset()
		for next = range n {
			s.add(time.Duration(next) * time.Microsecond)
		}
		s.add(time.Hour)
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if len(s.kept) < maxSample/2 || len(s.kept) > maxSample {
		t.Errorf("%d are kept", len(s.kept))
	}
	for i, d := range s.kept {
		if d != time.Duration(i)*time.Duration(s.every)*time.Microsecond && d != time.Hour {
			t.Fatalf("number %d of the sample is %v, with every %d kept", i, d, s.every)
		}
	}
	p := s.percentiles()
	if p.Samples != n+1 || p.Min != 0 || p.Max != micros(time.Hour) || p.P50 < 0.499*n || p.P50 > 0.501*n || p.P999 < 0.998*n {
		t.Errorf("%+v", p)
	}
}

func TestFairness(t *testing.T) {
	for _, c := range []struct {
		bytes []uint64
		want  *Fairness
	}{
		{nil, nil}, {[]uint64{5}, nil}, {[]uint64{0, 0}, nil},
		{[]uint64{7, 7, 7, 7}, &Fairness{1, 1}}, {[]uint64{0, 0, 0, 8}, &Fairness{0, 0.25}}, {[]uint64{1, 3}, &Fairness{1. / 3, 0.8}},
	} {
		switch got := fairness(c.bytes); {
		case got == nil || c.want == nil:
			if got != c.want {
				t.Errorf("%v: %v", c.bytes, got)
			}
		case *got != *c.want:
			t.Errorf("%v: %v, want %v", c.bytes, *got, *c.want)
		}
	}
}
