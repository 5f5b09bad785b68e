package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"xvsock/bench"
)

// printBench prints results.
func printBench(c *cobra.Command, output string, results []bench.Result) error {
	head := []string{"CASE", "SIZE", "CONNS", "BULK", "COUNT", "RATE/S", "P50", "P90", "P99", "P99.9", "MAX", "MB/S", "FAIR", "ALLOCS", "COUNTS"}
	rows := make([][]string, 0, len(results))
	for _, r := range results {
		row := []string{string(r.Case), decimal(r.Size), decimal(r.Conns), decimal(r.Bulk), strconv.FormatUint(r.Count, 10), figure(r.Rate)}
		if p := r.Percentiles; p != nil {
			row = append(row, figure(p.P50), figure(p.P90), figure(p.P99), figure(p.P999), figure(p.Max))
		} else {
			row = append(row, "", "", "", "", "")
		}
		var rate, fair string
		if r.MBs > 0 {
			rate = figure(r.MBs)
		}
		if r.Fairness != nil {
			fair = figure(r.Fairness.MinMax)
		}
		rows = append(rows, append(row, rate, fair, figure(r.Allocs), benchCounts(r)))
	}
	return printList(c.OutOrStdout(), output, results, head, rows)
}

// benchCounts is what was counted beside, for each of what.
func benchCounts(r bench.Result) string {
	words := make([]string, 0, len(r.Counts)+1)
	for _, name := range slices.Sorted(maps.Keys(r.Counts)) {
		words = append(words, name+" "+figure(r.Counts[name]))
	}
	if len(words) == 0 {
		return ""
	}
	return fmt.Sprintf("per %s: %s", r.Per, strings.Join(words, ", "))
}

// figure is a number with three digits that count, or all of those before the point.
func figure(x float64) string {
	switch {
	case x >= 100 || x <= -100:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x == 0:
		return "0"
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}
