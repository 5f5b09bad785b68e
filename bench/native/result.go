package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
)

// result compares one of ours with one peer. Its form is that of the benchmarks on
// real Xen.
type result struct {
	Case   string  `json:"case"`   // the case, and the peer
	Mode   string  `json:"mode"`   // copy or map; loop: a domain with itself
	Metric string  `json:"metric"` // us or MB/s
	Ours   float64 `json:"ours"`   // median
	Peer   float64 `json:"peer"`   // median
	Ratio  float64 `json:"ratio"`  // median of ours/peer of each round
	Runs   int     `json:"runs"`   // rounds
}

// compare holds each of ours against each peer.
func (t trial) compare(all []series) (results []result) {
	for _, a := range all {
		for _, b := range all {
			if !a.ours() || b.ours() {
				continue
			}
			results = append(results, result{
				Case: t.of(a.contestant) + "/" + b.name, Mode: a.mode, Metric: t.metric,
				Ours: median(a.values), Peer: median(b.values),
				Ratio: median(ratios(a.values, b.values)), Runs: len(a.values),
			})
		}
	}
	return results
}

// of is the name of the case for one of ours: where it never polls, another.
func (t trial) of(c contestant) string {
	if c.sleeps {
		return t.name + "-sleep"
	}
	return t.name
}

// ratios are those of the values of one round.
func ratios(ours, peer []float64) []float64 {
	all := make([]float64, len(ours))
	for i := range ours {
		all[i] = ours[i] / peer[i]
	}
	return all
}

// median is the middle one, or between the two in the middle.
func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

// write prints a case: what each contestant reached, and its ratios to the peers.
func (t trial) write(out io.Writer, all []series) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s, %s\tmedian\tmin\tmax\t", t.name, t.metric)
	for _, peer := range all {
		if !peer.ours() {
			fmt.Fprintf(w, "/ %s\t", peer.name)
		}
	}
	fmt.Fprintln(w)
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t", s.name, median(s.values), slices.Min(s.values), slices.Max(s.values))
		for _, peer := range all {
			if s.ours() && !peer.ours() {
				fmt.Fprintf(w, "%.3f\t", median(ratios(s.values, peer.values)))
			}
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	return w.Flush()
}

// add appends results to the list in a file, which need not be there yet.
func add(file string, results []result) error {
	var list []result
	switch text, err := os.ReadFile(file); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("read the results so far: %w", err)
	default:
		if err := json.Unmarshal(text, &list); err != nil {
			return fmt.Errorf("results so far in %s: %w", file, err)
		}
	}
	text, err := json.MarshalIndent(append(list, results...), "", "  ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
