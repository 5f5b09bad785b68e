package benchreport

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample is what a benchmark might give.
func sample(t *testing.T) []Result {
	t.Helper()
	trips := func(at float64) Figures { return Figures{"p50": at, "p90": at * 1.1, "p99": at * 2, "p99.9": at * 9} }
	rates := func(size, ring float64) Figures { return Figures{FigureSize: size, FigureRing: ring} }
	var all []Result
	add := func(r Result, err error) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	for _, c := range []struct {
		name, mode string
		ours       float64
	}{{"rr-64B", "copy", 400}, {"rr-64B", "map", 3}, {"rr-64B-sleep", "copy", 900}} {
		add(New(c.name, c.mode, Microseconds, "libxenvchan", Goal{AtMost: 0.6},
			[]Pair{{Run{c.ours, trips(c.ours)}, Run{700, trips(700)}}, {Run{c.ours, trips(c.ours)}, Run{800, trips(800)}}}))
	}
	for _, size := range []float64{64, 1024, 16384} {
		add(New("stream-64K", "copy", Throughput, "libxenvchan", Goal{},
			[]Pair{{Run{size / 100, rates(size, 65536)}, Run{size / 200, rates(size, 65536)}}}))
	}
	add(New("stream-best", "map", Throughput, "libxenvchan", Goal{},
		[]Pair{{Run{1200, rates(16384, 1<<20)}, Run{1300, rates(16384, 1<<20)}}}))
	return all
}

func TestTheJSONFileHasWhatOthersRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "build", "bench.json")
	if err := WriteJSON(file, sample(t)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []map[string]any
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	got := list[1]
	for key, want := range map[string]any{
		"case": "rr-64B", "mode": "map", "metric": "us", "ours": 3.0, "peer": 750.0, "ratio": (3.0/700 + 3.0/800) / 2, "runs": 2.0,
		"peer_name": "libxenvchan", "goal": "at most 0.6", "reached": true,
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if pairs, ok := got["pairs"].([]any); !ok || len(pairs) != 2 {
		t.Errorf("pairs are %v", got["pairs"])
	}
}

func TestNoResultsAreAnEmptyList(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bench.json")
	if err := WriteJSON(file, nil); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(data)) != "[]" {
		t.Errorf("%s, %v", data, err)
	}
}

func TestTheTableHasMediansWithTheLeastAndTheMost(t *testing.T) {
	var b strings.Builder
	if err := WriteTable(&b, sample(t)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	got := strings.Join(strings.Fields(lines[2]), " ")
	if want := "rr-64B map us 3 (3-3) 750 (700-800) 0.00402 (0.00375-0.00429) at most 0.6: yes 2 libxenvchan"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if !strings.Contains(lines[3], "at most 0.6: NO") {
		t.Errorf("a goal that is missed: %q", lines[3])
	}
}

// wellFormed reads all of an XML document.
func wellFormed(t *testing.T, document string) (elements map[string]int, texts string) {
	t.Helper()
	elements = make(map[string]int)
	d := xml.NewDecoder(strings.NewReader(document))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return elements, texts
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, document)
		}
		switch token := token.(type) {
		case xml.StartElement:
			elements[token.Name.Local]++
		case xml.CharData:
			texts += string(token) + "\n"
		}
	}
}

func TestTheChartIsWellFormedAndNamesWhatItShows(t *testing.T) {
	file := filepath.Join(t.TempDir(), "build", "bench.svg")
	if err := WriteSVG(file, sample(t)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	elements, texts := wellFormed(t, string(data))
	// Four lines of round trips, four of streams, each drawn and in the legend.
	if elements["polyline"] != 16 {
		t.Errorf("%d lines, want 16", elements["polyline"])
	}
	for _, want := range []string{
		"p99.9", "microseconds, logarithmic", "size of a message, logarithmic", "16 KiB", "MB/s, logarithmic",
		"libxenvchan", "xvsock, copy, no polling", "xvsock, map, 1 MiB rings", "libxenvchan, 64 KiB rings",
	} {
		if !strings.Contains(texts, want+"\n") {
			t.Errorf("nothing says %q", want)
		}
	}
	for _, bad := range []string{"NaN", "Inf"} {
		if strings.Contains(string(data), bad) {
			t.Errorf("a coordinate is %s", bad)
		}
	}
}

func TestAChartOfNothingAndOfStrangeNamesIsWellFormed(t *testing.T) {
	strange, err := New("rr-64B", `"<&`, Microseconds, "them", Goal{}, []Pair{{Run{5, Figures{"p50": 5}}, Run{5, Figures{"p50": 5}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, results := range [][]Result{nil, {strange}} {
		file := filepath.Join(t.TempDir(), "bench.svg")
		if err := WriteSVG(file, results); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if elements, _ := wellFormed(t, string(data)); elements["svg"] != 1 || strings.Contains(string(data), "NaN") {
			t.Errorf("%s", data)
		}
	}
}

func TestAxesEndAtRoundNumbers(t *testing.T) {
	for _, c := range []struct {
		name     string
		values   []float64
		min, max float64
		ticks    int
	}{
		{"within a decade", []float64{30, 70}, 20, 100, 3},
		{"exactly on the marks", []float64{10, 100}, 10, 100, 4},
		{"one value alone", []float64{10}, 10, 100, 4},
		{"over many decades only powers of ten are marked", []float64{2, 9000}, 2, 10000, 4},
	} {
		a := valueAxis("x", c.values)
		if a.min != c.min || a.max != c.max || len(a.ticks) != c.ticks {
			t.Errorf("%s: from %v to %v with %d marks, want %v to %v with %d", c.name, a.min, a.max, len(a.ticks), c.min, c.max, c.ticks)
		}
	}
}

func TestNumbersHaveThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{
		1234.5: "1234", 100: "100", 56.78: "56.8", 5.678: "5.68", 5: "5", 0.5: "0.5", 0.04567: "0.0457", 0.000123: "0.000123", 0: "0",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
}
