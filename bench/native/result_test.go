package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestRatiosAreOfOneRound(t *testing.T) {
	// A machine that gets slower from round to round is no news about the peers.
	a := series{contestant{name: "a", mode: "copy"}, []float64{1, 2, 4, 8, 16}}
	still := series{contestant{name: "a-sleep", mode: "copy", sleeps: true}, []float64{2, 4, 8, 16, 32}}
	b := series{contestant{name: "b"}, []float64{2, 4, 8, 16, 16}}
	got := trial{name: "c", metric: "us"}.compare([]series{a, still, b})
	want := []result{
		{Case: "c/b", Mode: "copy", Metric: "us", Ours: 4, Peer: 8, Ratio: 0.5, Runs: 5},
		{Case: "c-sleep/b", Mode: "copy", Metric: "us", Ours: 8, Peer: 8, Ratio: 1, Runs: 5},
	}
	if !slices.Equal(got, want) {
		t.Errorf("compared: %+v, want %+v", got, want)
	}
	if got := median([]float64{9, 1, 3, 2}); got != 2.5 {
		t.Errorf("median of four is %v", got)
	}
}

func TestResultsAreAddedToAList(t *testing.T) {
	file := filepath.Join(t.TempDir(), "build", "list.json")
	for _, name := range []string{"first", "second"} {
		if err := add(file, []result{{Case: name, Mode: "copy", Metric: "us", Ours: 1, Peer: 2, Ratio: 0.5, Runs: 5}}); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []map[string]any
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0]["case"] != "first" || list[1]["case"] != "second" || list[1]["ratio"] != 0.5 {
		t.Errorf("the list is %s", text)
	}
	if err := os.WriteFile(file, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if add(file, nil) == nil {
		t.Error("a file that holds something else was written over")
	}
}

// Every contestant carries every case, and says so in its own unit.
func TestEachContestantHasItsTurnInEachCase(t *testing.T) {
	for _, c := range cases() {
		all, err := c.measure(contestants(), 2, time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != len(contestants()) {
			t.Errorf("%s: %d contestants, want %d", c.name, len(all), len(contestants()))
		}
		for _, s := range all {
			if len(s.values) != 2 || slices.Min(s.values) <= 0 {
				t.Errorf("%s of %s: %v", c.name, s.name, s.values)
			}
		}
	}
}

func TestWhatARunIsAskedFor(t *testing.T) {
	for name, args := range map[string][]string{
		"too few rounds for a median": {"-pairs", "4"},
		"no such case":                {"-case", "nothing"},
		"no time":                     {"-time", "0s"},
		"no such flag":                {"-cases", "rr-64B"},
	} {
		if err := run(append(args, "-json", "")); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
