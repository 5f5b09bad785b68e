package benchreport

import (
	"errors"
	"math"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []float64
		want   float64
	}{
		{"of none it is nothing", nil, 0},
		{"one value is its own", []float64{7}, 7},
		{"of an odd number it is the middle one, in any order", []float64{9, 1, 5}, 5},
		{"of an even number it is between the two in the middle", []float64{10, 1, 4, 2}, 3},
		{"one that is far off does not move it", []float64{2, 3, 1e9, 1, 2}, 2},
	} {
		if got := Median(c.values); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// pairs makes pairs of values, ours and the peer's in turn.
func pairs(values ...float64) []Pair {
	var all []Pair
	for i := 0; i < len(values); i += 2 {
		all = append(all, Pair{Run{Value: values[i]}, Run{Value: values[i+1]}})
	}
	return all
}

func TestTheRatioIsTheMedianOfThePairs(t *testing.T) {
	// The medians are 8 and 2, the ratios 1, 3 and 4.
	r, err := New("x", "map", Throughput, "them", Goal{}, pairs(1, 1, 30, 10, 8, 2))
	if err != nil {
		t.Fatal(err)
	}
	if r.Ratio != 3 || r.Ours != 8 || r.Peer != 2 || r.Runs != 3 || len(r.Pairs) != 3 {
		t.Errorf("%+v", r)
	}
}

func TestRunsThatSayNothingAreNoResult(t *testing.T) {
	for name, p := range map[string][]Pair{
		"no pair at all":          nil,
		"ours is nothing":         pairs(1, 1, 0, 1),
		"the peer's is nothing":   pairs(1, 0),
		"ours is no number":       pairs(math.NaN(), 1),
		"the peer's has no bound": pairs(1, math.Inf(1)),
	} {
		if _, err := New("x", "copy", Rate, "them", Goal{}, p); !errors.Is(err, ErrNoRuns) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGoals(t *testing.T) {
	for _, c := range []struct {
		name    string
		goal    Goal
		ours    float64
		reached bool
	}{
		{"less than is allowed", Goal{AtMost: 0.6}, 0.5, true},
		{"as much as is allowed", Goal{AtMost: 0.6}, 0.6, true},
		{"more than is allowed", Goal{AtMost: 0.6}, 0.7, false},
		{"more than is asked for", Goal{AtLeast: 3}, 4, true},
		{"as much as is asked for", Goal{AtLeast: 3}, 3, true},
		{"less than is asked for", Goal{AtLeast: 3}, 2, false},
	} {
		r, err := New("x", "copy", Rate, "them", c.goal, pairs(c.ours, 1))
		if err != nil {
			t.Fatal(err)
		}
		if r.Reached == nil || *r.Reached != c.reached {
			t.Errorf("%s: reached is %v", c.name, r.Reached)
		}
	}
	r, err := New("x", "copy", Rate, "them", Goal{}, pairs(1, 1))
	if err != nil || r.Reached != nil || r.Goal != "" {
		t.Errorf("without a goal: %+v, %v", r, err)
	}
}

func TestFiguresAreMediansOfTheRunsThatHaveThem(t *testing.T) {
	r, err := New("x", "copy", Rate, "them", Goal{}, []Pair{
		{Run{1, Figures{"p50": 1, "p99": 5}}, Run{1, nil}},
		{Run{1, Figures{"p50": 3}}, Run{1, Figures{"p50": 8}}},
		{Run{1, Figures{"p50": 2}}, Run{1, Figures{"p50": 6}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.OursFigures.String(); got != "p50 2, p99 5" {
		t.Errorf("ours: %s", got)
	}
	if got := r.PeerFigures.String(); got != "p50 7" {
		t.Errorf("the peer's: %s", got)
	}
}
