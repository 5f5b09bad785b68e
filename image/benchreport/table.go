package benchreport

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// WriteTable writes the results as a table, a line a case: medians, in brackets the
// least and the most of the runs, and what the goal says.
func WriteTable(w io.Writer, results []Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CASE\tMODE\tMETRIC\tOURS\tPEER\tRATIO\tGOAL\tRUNS\tPEER IS")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", r.Case, r.Mode, r.Metric,
			spread(r.Ours, r.ours()), spread(r.Peer, r.peers()), spread(r.Ratio, r.ratios()), r.verdict(), r.Runs, r.PeerName)
	}
	return t.Flush()
}

// WriteFigures writes the further figures of the results, ours and the peer's.
func WriteFigures(w io.Writer, results []Result) error {
	for _, r := range results {
		for _, side := range []struct {
			name    string
			figures Figures
		}{{"ours", r.OursFigures}, {"peer", r.PeerFigures}} {
			if len(side.figures) == 0 {
				continue
			}
			if _, err := fmt.Fprintf(w, "%s %s, %s: %s\n", r.Case, r.Mode, side.name, side.figures); err != nil {
				return err
			}
		}
	}
	return nil
}

// String lists the figures in the order of their names.
func (f Figures) String() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		all = append(all, name+" "+number(f[name]))
	}
	return strings.Join(all, ", ")
}

// String says what is to be reached, or nothing.
func (g Goal) String() string {
	switch {
	case g.AtMost > 0:
		return "at most " + number(g.AtMost)
	case g.AtLeast > 0:
		return "at least " + number(g.AtLeast)
	}
	return ""
}

// verdict is the goal and whether it was reached.
func (r *Result) verdict() string {
	switch {
	case r.Reached == nil:
		return "-"
	case *r.Reached:
		return r.Goal + ": yes"
	}
	return r.Goal + ": NO"
}

// spread is a median with the least and the most of all runs.
func spread(median float64, all []float64) string {
	return fmt.Sprintf("%s (%s-%s)", number(median), number(slices.Min(all)), number(slices.Max(all)))
}

// number prints three digits that count, and all of those before the point.
func number(v float64) string {
	for digits, bound := range []float64{100, 10, 1, 0.1} {
		if v >= bound || v <= -bound {
			return trim(strconv.FormatFloat(v, 'f', digits, 64))
		}
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// trim takes the zeros after the point away, which say nothing.
func trim(s string) string {
	if !strings.Contains(s, ".") {
		return s
	}
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}
