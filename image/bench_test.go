package image_test

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"xvsock/image/benchreport"
)

// BenchmarkVchan compares links with libxenvchan on real Xen, between the same two PV
// domUs, in one run: ours and the peer's take turns, and what counts is the median of
// the ratios of the pairs. The results are printed and written to build/bench.json and
// build/bench.svg. Nothing is asserted on time.
//
// One run is one measurement whatever b.N is. All of it takes some ten minutes; one case
// in one mode takes one, and writes build/bench-part.json and .svg:
//
//	go test -run '^$' -bench 'Vchan/^rr-64B$/copy' ./image
//
// XVSOCK_BENCH_PAIRS says how many pairs there are of each case.
func BenchmarkVchan(b *testing.B) {
	h := newBenchHost(b)
	cases := benchCases()
	var results []benchreport.Result
	wanted := 0
	for _, c := range cases {
		b.Run(c.name+"/"+c.mode, func(b *testing.B) {
			wanted++ // also if it fails
			r := h.during(b).compare(c)
			results = append(results, r)
			b.ReportMetric(0, "ns/op") // says nothing
			b.ReportMetric(r.Ratio, "ratio")
		})
	}
	h.during(b)
	h.report(results, wanted == len(cases))
}

// benchPairs is how many pairs of runs there are of each case.
func benchPairs(tb testing.TB) int {
	tb.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("XVSOCK_BENCH_PAIRS"), "5"))
	if err != nil || n < 1 {
		tb.Fatal("XVSOCK_BENCH_PAIRS is to be a number of pairs, 1 or more")
	}
	return n
}

// compare measures one case.
func (h *benchHost) compare(c benchCase) benchreport.Result {
	h.tb.Helper()
	if c.prepare != nil {
		c.prepare(h, &c)
	}
	h.configure(c.setting)
	c.ours(h, c) // the first run finds cold caches, and makes the link
	c.peer(h, c)
	var pairs []benchreport.Pair
	for range benchPairs(h.tb) {
		p := benchreport.Pair{Ours: c.run(c.ours(h, c)), Peer: c.run(c.peer(h, c))}
		h.tb.Logf("%s %s: ours %.4g %s, %s %.4g", c.name, c.mode, p.Ours.Value, c.metric, c.against, p.Peer.Value)
		pairs = append(pairs, p)
	}
	r, err := benchreport.New(c.name, c.mode, c.metric, c.against, c.goal, pairs)
	if err != nil {
		h.tb.Fatalf("%s %s: %v", c.name, c.mode, err)
	}
	if c.calls != nil {
		c.calls(h, c, &r)
	}
	return r
}

// run takes the value of a case, and the further figures, out of what was measured.
func (c *benchCase) run(m measured) benchreport.Run {
	return benchreport.Run{Value: c.value(m), Figures: m.figures()}
}

// report prints the results and writes them to files: to bench-part if not all cases
// were wanted.
func (h *benchHost) report(results []benchreport.Result, all bool) {
	h.tb.Helper()
	var out strings.Builder
	_ = benchreport.WriteTable(&out, results) // it never fails
	out.WriteByte('\n')
	_ = benchreport.WriteFigures(&out, results)
	h.tb.Logf("medians, with the least and the most in brackets:\n%s", out.String())
	file := filepath.Join("..", "build", "bench")
	if !all {
		file += "-part"
	}
	if err := benchreport.WriteJSON(file+".json", results); err != nil {
		h.tb.Error(err)
	}
	if err := benchreport.WriteSVG(file+".svg", results); err != nil {
		h.tb.Error(err)
	}
}

// measured is what a measuring program prints: an object of the list that `xvsock bench
// -o json` gives, or what of it vchan and ceiling give.
type measured struct {
	Size        float64            `json:"size"` // of a message, bytes
	Count       float64            `json:"count"`
	Rate        float64            `json:"rate"`
	MBs         float64            `json:"mb_s"`
	First       float64            `json:"first_us"`
	Percentiles map[string]float64 `json:"percentiles_us"`
	Fairness    map[string]float64 `json:"fairness"`
	Allocs      *float64           `json:"allocs"`
	Counts      map[string]float64 `json:"counts"`
	Per         string             `json:"per"`

	ring int // of the rings it went through, bytes
}

// parseMeasured reads what a program printed.
func parseMeasured(out string) (measured, error) {
	var list []measured
	_, text, _ := strings.Cut(out, "[") // behind what it may have said on standard error
	if err := json.Unmarshal([]byte("["+text), &list); err != nil {
		return measured{}, err
	}
	if len(list) != 1 {
		return measured{}, strconv.ErrSyntax
	}
	return list[0], nil
}

// figures are those of a run that the report keeps beside its value.
func (m *measured) figures() benchreport.Figures {
	f := benchreport.Figures{}
	for name, value := range m.Percentiles {
		if name != "samples" {
			f[strings.ReplaceAll(name, "_", ".")] = value
		}
	}
	for name, value := range m.Fairness {
		f["fairness "+name] = value
	}
	for name, value := range m.Counts {
		f[name+" per "+m.Per] = value
	}
	if m.Allocs != nil {
		f["allocations"] = *m.Allocs
	}
	if m.ring > 0 && m.MBs > 0 {
		f[benchreport.FigureSize], f[benchreport.FigureRing] = m.Size, float64(m.ring)
	}
	return f
}
