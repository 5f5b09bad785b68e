package image_test

import (
	"maps"
	"testing"

	"xvsock/image/benchreport"
)

func TestWhatAMeasuringProgramPrints(t *testing.T) {
	m, err := parseMeasured("vchan: a warning\n" + `[{"case":"rr","size":64,"lot":20,"count":1400,"rate":1400.5,
		"percentiles_us":{"samples":70,"min":600,"p50":700,"p90":710,"p99":900,"p99_9":1000,"max":2000,"mean":714.1},
		"fairness":{"min_max":0.9,"jain":0.99},"allocs":0,"counts":{"notifies":2},"per":"round trip"}]` + "\n")
	if err != nil {
		t.Fatal(err)
	}
	want := benchreport.Figures{
		"min": 600, "p50": 700, "p90": 710, "p99": 900, "p99.9": 1000, "max": 2000, "mean": 714.1,
		"fairness min_max": 0.9, "fairness jain": 0.99, "notifies per round trip": 2, "allocations": 0,
	}
	if got := m.figures(); !maps.Equal(got, want) || m.Rate != 1400.5 || p50(m) != 700 {
		t.Errorf("%v, want %v", got, want)
	}
	stream, err := parseMeasured(`[{"size":16384,"mb_s":98.5}]`)
	if err != nil {
		t.Fatal(err)
	}
	stream.ring = 65536
	if f := stream.figures(); f[benchreport.FigureSize] != 16384 || f[benchreport.FigureRing] != 65536 || mbs(stream) != 98.5 {
		t.Errorf("a stream: %v", f)
	}
	for _, bad := range []string{"", "xvsock: not running", "[]", "[{},{}]", "[{", `[{"size":"x"}]`} {
		if _, err := parseMeasured(bad); err == nil {
			t.Errorf("%q is taken for a measurement", bad)
		}
	}
}

func TestHistogramOfSystemCalls(t *testing.T) {
	got := parseHist(`# event histogram
#
# trigger info: hist:keys=id.syscall:vals=hitcount:sort=hitcount:size=512 if comm == "vchan" [active]
#

{ id: sys_read                      [  0] } hitcount:         12
{ id: sys_ioctl                     [ 16] } hitcount:       2401

Totals:
    Hits: 2413
    Entries: 2
    Dropped: 0
`)
	if want := map[string]int{"sys_read": 12, "sys_ioctl": 2401}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestEveryComparisonIsMadeOnce(t *testing.T) {
	goals := map[string]string{
		"rr-64B copy": "at most 0.6", "rr-64B map": "at most 0.02", "rr-64B-sleep copy": "at most 1.5", "rr-64B-sleep map": "at most 0.9",
		"stream-64K copy": "at least 1.2", "stream-64K map": "at least 3", "stream-best map": "at least 1",
		"stream-ceiling copy": "at least 0.8", "rr-64B-busy copy": "at most 5",
	}
	seen := make(map[string]bool)
	for _, c := range benchCases() {
		name := c.name + " " + c.mode
		if seen[name] {
			t.Errorf("%s comes twice", name)
		}
		seen[name] = true
		if got := c.goal.String(); got != goals[name] {
			t.Errorf("%s is to reach %q, want %q", name, got, goals[name])
		}
		delete(goals, name)
	}
	if len(goals) > 0 {
		t.Errorf("missing: %v", goals)
	}
}
