package cli_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"xvsock/bench"
	"xvsock/daemon"
	"xvsock/services/varlink"
)

// measured is what a daemon could have found.
var measured = map[string]bench.Result{
	"rr": {
		Case: bench.RoundTrip, Size: 64, Conns: 1, Lot: 1, Count: 20000, Seconds: 3.001, Rate: 6664.4, First: 1234.5,
		Percentiles: &bench.Percentiles{Samples: 20000, Min: 98.2, P50: 149.5, P90: 160, P99: 301.25, P999: 1800.5, Max: 20000, Mean: 150.05},
		Allocs:      0.0012, Counts: map[string]float64{"notifies": 2, "cpu_ns": 91234.5, evil: 1}, Per: "round trip",
	},
	"stream": {
		Case: bench.Stream, Size: 16384, Conns: 1, Lot: 1, Back: true, Count: 100000, Seconds: 2, Rate: 50000, First: 12, Bytes: 1638400000, MBs: 819.2,
		Counts: map[string]float64{}, Per: "MiB",
	},
	"many": {
		Case: bench.Many, Size: 16384, Conns: 10, Bulk: 3, Lot: 1, Count: 100000, Seconds: 2, Rate: 50000, First: 12, Bytes: 1638400000, MBs: 819.2,
		Percentiles: &bench.Percentiles{Samples: 500, Min: 98.2, P50: 149.5, P90: 160, P99: 301.25, P999: 1800.5, Max: 20000, Mean: 150.05},
		Fairness:    &bench.Fairness{MinMax: 0.98765, Jain: 0.9999}, Allocs: 0.25, Counts: map[string]float64{"copies": 16.125}, Per: "MiB",
	},
	"connect": {
		Case: bench.Connect, Conns: 1, Lot: 1, Count: 3000, Seconds: 3, Rate: 1000, First: 12,
		Percentiles: &bench.Percentiles{Samples: 3000, Min: 0.5, P50: 0.75, P90: 1, P99: 2, P999: 3, Max: 4, Mean: 1}, Allocs: 33,
		Counts: map[string]float64{"notifies": 4}, Per: "connection",
	},
}

// measures is a daemon that notes what it is asked for.
func measures(asked *[]daemon.BenchArgs) varlink.Methods {
	return varlink.Methods{daemon.MethodBench: func(_ context.Context, call *varlink.Call) (any, error) {
		var args daemon.BenchArgs
		if err := call.Decode(&args); err != nil {
			return nil, err
		}
		*asked = append(*asked, args)
		return daemon.BenchReply{Result: measured[args.Case]}, nil
	}}
}

// The JSON shape only ever grows.
func TestResultsAsTableAndJSON(t *testing.T) {
	control := daemonThat(t, measures(new([]daemon.BenchArgs)))
	for _, output := range []string{"table", "json"} {
		r := run(t, "bench", "db", "--control", control, "-o", output)
		if r.code != 0 || r.stderr != "" || strings.ContainsAny(r.stdout, "\x1b\x07\u202e") {
			t.Errorf("%+v", r)
		}
		golden(t, "bench-"+output, r.stdout)
		if output == "json" && !json.Valid([]byte(r.stdout)) {
			t.Error("it is no JSON")
		}
	}
}

func TestWhatADaemonIsAskedToMeasure(t *testing.T) {
	for line, want := range map[string][]daemon.BenchArgs{
		"db": {
			{Domain: "db", Port: 8, Case: "rr", Size: 64, Seconds: 3, Lot: 1},
			{Domain: "db", Port: 8, Case: "stream", Size: 16384, Seconds: 3, Lot: 1},
			{Domain: "db", Port: 8, Case: "many", Size: 16384, Seconds: 3, Conns: 10, Lot: 1},
			{Domain: "db", Port: 8, Case: "connect", Seconds: 3, Lot: 1},
		},
		"db --conns 20 --bulk 4 --size 7 --case all --time 100ms": {
			{Domain: "db", Port: 8, Case: "rr", Size: 7, Seconds: 0.1, Conns: 20, Bulk: 4, Lot: 1},
			{Domain: "db", Port: 8, Case: "stream", Size: 7, Seconds: 0.1, Conns: 20, Lot: 1},
			{Domain: "db", Port: 8, Case: "many", Size: 7, Seconds: 0.1, Conns: 20, Bulk: 4, Lot: 1},
			{Domain: "db", Port: 8, Case: "connect", Seconds: 0.1, Lot: 1},
		},
		"a:9000 --case rr --count 1000 --lot 10":         {{Domain: "a", Port: 9000, Case: "rr", Size: 64, Count: 1000, Lot: 10}},
		"a:echo --case rr --count 1000 --time 1s":        {{Domain: "a", Port: 7, Case: "rr", Size: 64, Count: 1000, Seconds: 1, Lot: 1}},
		"@backend --case stream --reverse --size 65536":  {{Domain: "@backend", Port: 8, Case: "stream", Size: 65536, Seconds: 3, Lot: 1, Reverse: true}},
		"a --case connect,rr --count 5":                  {{Domain: "a", Port: 8, Case: "rr", Size: 64, Count: 5, Lot: 1}, {Domain: "a", Port: 8, Case: "connect", Count: 5, Lot: 1}},
		"a --case many --bulk 20":                        {{Domain: "a", Port: 8, Case: "many", Size: 16384, Seconds: 3, Conns: 20, Bulk: 20, Lot: 1}},
		"a --case connect --lot 1000":                    {{Domain: "a", Port: 8, Case: "connect", Seconds: 3, Lot: 31}},
		"0x7FF1 --case rr --size 1 --via daemon -o json": {{Domain: "0x7FF1", Port: 8, Case: "rr", Size: 1, Seconds: 3, Lot: 1}},
	} {
		var asked []daemon.BenchArgs
		control := daemonThat(t, measures(&asked))
		if r := run(t, append(append([]string{"bench"}, strings.Fields(line)...), "--control", control)...); r.code != 0 {
			t.Errorf("%s: %+v", line, r)
		}
		if diff := cmp.Diff(want, asked); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

// A daemon that measures for nobody would keep everybody else from it.
func TestAMeasurementEndsWithItsCommand(t *testing.T) {
	begun, ended := make(chan bool), make(chan bool)
	control := daemonThat(t, varlink.Methods{daemon.MethodBench: func(ctx context.Context, _ *varlink.Call) (any, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	if r := runOn(ctx, nowhere(), "bench", "db", "--case", "rr", "--control", control); r.code != 1 {
		t.Errorf("%+v", r)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("it goes on")
	}
}

func TestABadMeasurementIsRefusedBeforeAnythingIsTried(t *testing.T) {
	for line, want := range map[string]string{
		"":                                  "accepts 1 arg",
		"db --case odd":                     `--case "odd": use rr, stream, many, connect or all`,
		"db --case rr,\x1b":                 `--case`,
		"db --via tcp":                      `--via "tcp": use daemon, door or vsock`,
		"db --size 2000000":                 "size 2000000: use 1 to 1048576",
		"db --time 0s":                      "time 0s",
		"db --time 20m":                     "use 1ms to 10m0s",
		"db --lot 0x":                       "invalid argument",
		"db --case many --conns 3000":       "3000 connections",
		"db --case many --conns 2 --bulk 3": "3 streams of 2 connections",
		"db:99999999999":                    "use a number",
		"db:":                               "use a number",
		":8":                                "names no domain",
		"db --via vsock":                    `CID "db"`,
		"4294967295 --via vsock":            "CID",
	} {
		r := run(t, append(append([]string{"bench"}, strings.Fields(line)...), "--control", t.TempDir()+"/none")...)
		if r.code != 125 || !strings.Contains(r.stderr, want) {
			t.Errorf("%q ends with %d: %swant %q", line, r.code, r.stderr, want)
		}
		oneLine(t, r)
	}
	for _, via := range []string{"daemon", "door"} {
		r := run(t, "bench", "db", "--case", "rr", "--via", via, "--control", t.TempDir()+"/none")
		if r.code != 125 || !strings.Contains(r.stderr, "no xvsock daemon answers") {
			t.Errorf("%s: %+v", via, r)
		}
		oneLine(t, r)
	}
}
