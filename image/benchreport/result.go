package benchreport

import (
	"errors"
	"math"
	"slices"
)

// The metrics.
const (
	Microseconds = "us"   // less is better
	Throughput   = "MB/s" // 10^6 bytes a second
	Rate         = "1/s"
)

// ErrNoRuns says that nothing was measured, or something that is no number.
var ErrNoRuns = errors.New("no runs, or one without a figure")

// Figures are further figures of a side by their names: percentiles, counts.
type Figures map[string]float64

// Run is what one side gave in one run.
type Run struct {
	Value   float64 // in the metric of the Result
	Figures Figures
}

// Pair is a run of ours and one of the peer's, one right after the other.
type Pair struct{ Ours, Peer Run }

// Values are the figures of a pair as the file has them.
type Values struct {
	Ours float64 `json:"ours"`
	Peer float64 `json:"peer"`
}

// Result is what came of one case. Its JSON form only ever gets more fields.
type Result struct {
	Case   string `json:"case"`
	Mode   string `json:"mode"`   // access mode of our link: copy or map
	Metric string `json:"metric"` // Microseconds, Throughput or Rate

	Ours  float64 `json:"ours"`  // median of all runs
	Peer  float64 `json:"peer"`  // median of all runs
	Ratio float64 `json:"ratio"` // median of the pairs' ratios ours/peer
	Runs  int     `json:"runs"`  // how many pairs

	PeerName    string   `json:"peer_name"` // whom we are compared with
	Pairs       []Values `json:"pairs"`     // in the order in which they ran
	OursFigures Figures  `json:"ours_figures,omitempty"`
	PeerFigures Figures  `json:"peer_figures,omitempty"`
	Goal        string   `json:"goal,omitempty"` // as Goal prints it
	Reached     *bool    `json:"reached,omitempty"`
}

// Goal is a bound of a ratio. The zero Goal is none.
type Goal struct {
	AtMost, AtLeast float64 // one of them; 0 is none
}

// reached reports whether a ratio keeps to the goal.
func (g Goal) reached(ratio float64) bool {
	return g.AtMost > 0 && ratio <= g.AtMost || g.AtLeast > 0 && ratio >= g.AtLeast
}

// New makes the result of a case of its pairs. The error wraps ErrNoRuns.
func New(name, mode, metric, peer string, goal Goal, pairs []Pair) (Result, error) {
	r := Result{Case: name, Mode: mode, Metric: metric, PeerName: peer, Runs: len(pairs), Goal: goal.String()}
	for _, p := range pairs {
		if !positive(p.Ours.Value) || !positive(p.Peer.Value) {
			return Result{}, ErrNoRuns
		}
		r.Pairs = append(r.Pairs, Values{p.Ours.Value, p.Peer.Value})
	}
	if len(pairs) == 0 {
		return Result{}, ErrNoRuns
	}
	r.Ours, r.Peer, r.Ratio = Median(r.ours()), Median(r.peers()), Median(r.ratios())
	r.OursFigures = medians(pairs, func(p Pair) Figures { return p.Ours.Figures })
	r.PeerFigures = medians(pairs, func(p Pair) Figures { return p.Peer.Figures })
	if goal != (Goal{}) {
		reached := goal.reached(r.Ratio)
		r.Reached = &reached
	}
	return r, nil
}

func positive(v float64) bool { return v > 0 && !math.IsInf(v, 1) }

func (r *Result) ours() []float64 {
	return each(r.Pairs, func(v Values) float64 { return v.Ours })
}

func (r *Result) peers() []float64 {
	return each(r.Pairs, func(v Values) float64 { return v.Peer })
}

func (r *Result) ratios() []float64 {
	return each(r.Pairs, func(v Values) float64 { return v.Ours / v.Peer })
}

func each[T any](all []T, f func(T) float64) []float64 {
	values := make([]float64, 0, len(all))
	for _, one := range all {
		values = append(values, f(one))
	}
	return values
}

// Median is the middle of values, or the mean of the two in the middle. Of none it is 0.
func Median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// medians takes each figure that any run of a side has by itself.
func medians(pairs []Pair, side func(Pair) Figures) Figures {
	all := make(map[string][]float64)
	for _, p := range pairs {
		for name, value := range side(p) {
			all[name] = append(all[name], value)
		}
	}
	result := make(Figures)
	for name, values := range all {
		result[name] = Median(values)
	}
	return result
}
