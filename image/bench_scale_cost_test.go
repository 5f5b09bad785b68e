package image_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"text/tabwriter"
)

// scaleCost is what a backend costs with so many frontends: figures by the names that
// scaleFigures lists.
type scaleCost map[string]float64

// scaleFigure is one of them.
type scaleFigure struct {
	name string
	flat bool // it can be counted, and is the same for each frontend
	unit string
}

func scaleFigures() []scaleFigure {
	return []scaleFigure{
		{"frontends", false, ""},
		{"goroutines", true, "goroutines"},
		{"ports", true, "ports"},
		{"pages_granted", true, "pages"},
		{"pages_mapped", true, "mapped"},
		{"files", true, "files"},
		{"watches", true, "watches"},
		{"nodes", true, "nodes"},
		{"threads", false, ""},
		{"rss_kib", false, "rss-KiB"},
		{"heap_kib", false, "heap-KiB"},
		{"idle_cpu_ms", false, "idle-ms"},
		{"idle_calls", false, "idle-calls"},
		{"idle_copies", false, ""},
		{"idle_notifies", false, ""},
		{"idle_polls", false, ""},
		{"idle_naps", false, ""},
		{"idle_sleeps", false, ""},
		{"connect_us", false, ""},
		{"connect_least_us", false, ""},
		{"connect_oldest_us", false, ""},
	}
}

// each is what every one of the frontends cost by which many has more than few.
func (many scaleCost) each(few scaleCost, figure string) float64 {
	return (many[figure] - few[figure]) / (many["frontends"] - few["frontends"])
}

// report reports what a frontend costs more than none does.
func (c scaleCost) report(b *testing.B, none scaleCost) {
	b.ReportMetric(0, "ns/op") // says nothing
	for _, f := range scaleFigures() {
		if f.unit != "" {
			b.ReportMetric(c.each(none, f.name), f.unit+"/frontend")
		}
	}
	b.ReportMetric(c["connect_us"], "connect-us")
}

// A front link carries the conversation with the manager. While that is quiet, the
// backend looks once a second whether the frontend still lives, and asks now and then.
const (
	// maxIdleCopies is how many copies a frontend may take in quietSeconds: one a second,
	// and two for each question and answer of either side.
	maxIdleCopies = quietSeconds + 2 + 4*(quietSeconds/10+1)
	// maxIdleCalls is how many system calls: a look takes 29 to 42, most of them to read the clock.
	maxIdleCalls = 60 * quietSeconds
	// baseIdleCalls is for what comes by itself, such as a garbage collection.
	baseIdleCalls = 300
	// maxIdleMS is how many milliseconds of processor time: under emulation a look takes
	// 3 to 5, with the waking of threads.
	maxIdleMS = 100
)

// notFlat says in what a frontend costs something else where there are more of them.
func notFlat(costs []scaleCost) (problems []string) {
	for i := 3; i < len(costs); i++ { // the first of all may cost what all share
		few, some, many := costs[i-2], costs[i-1], costs[i]
		for _, f := range scaleFigures() {
			was, is := some.each(few, f.name), many.each(some, f.name)
			if f.flat && math.Abs(is-was) > 1e-9 { // of whole numbers
				problems = append(problems, fmt.Sprintf("%s: %.2f for each frontend from %.0f to %.0f, %.2f from there to %.0f",
					f.name, was, few["frontends"], some["frontends"], is, many["frontends"]))
			}
		}
	}
	return problems
}

// notQuiet says what the backend does too much of while nothing is asked of it.
func notQuiet(costs []scaleCost) (problems []string) {
	for _, c := range costs {
		n := c["frontends"]
		for figure, most := range map[string]float64{
			"idle_copies": n * maxIdleCopies, "idle_calls": baseIdleCalls + n*maxIdleCalls,
			"idle_cpu_ms": maxIdleMS * (n + 1), "idle_polls": 0, "idle_naps": 0,
		} {
			if c[figure] > most {
				problems = append(problems, fmt.Sprintf("with %.0f frontends and nothing to do for %d s: %s %.1f, at most %.0f",
					n, quietSeconds, figure, c[figure], most))
			}
		}
	}
	return problems
}

// scaleTable has a column for each number of frontends, and for what each one more costs.
func scaleTable(costs []scaleCost) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, f := range scaleFigures() {
		fmt.Fprintf(w, "%s\t", f.name)
		for _, c := range costs {
			fmt.Fprintf(w, "%.6g\t", c[f.name])
		}
		for i := 1; i < len(costs); i++ {
			few, many := costs[i-1], costs[i]
			switch {
			case f.name == "frontends":
				fmt.Fprintf(w, "%.0f-%.0f\t", few[f.name], many[f.name])
			case strings.HasPrefix(f.name, "connect"):
				fmt.Fprint(w, "\t")
			default:
				fmt.Fprintf(w, "%.2f\t", many.each(few, f.name))
			}
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // it never fails
	return out.String()
}
