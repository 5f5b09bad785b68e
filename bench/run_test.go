package bench_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"xvsock/bench"
)

func TestEveryCaseIsMeasuredOverEverySocket(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		dial := serve(t, network, bench.Config{})
		for name, c := range map[string]struct {
			plan    bench.Plan
			count   uint64 // at least
			samples uint64 // exactly; 0: some or none
			bytes   uint64 // exactly
			streams bool
		}{
			"round trips":              {plan: bench.Plan{Case: bench.RoundTrip, Size: 64, Count: 500}, count: 500, samples: 500},
			"round trips of one byte":  {plan: bench.Plan{Case: bench.RoundTrip, Size: 1, Count: 300}, count: 300, samples: 300},
			"round trips of the most":  {plan: bench.Plan{Case: bench.RoundTrip, Size: bench.MaxSize, Count: 3}, count: 3, samples: 3},
			"round trips in lots":      {plan: bench.Plan{Case: bench.RoundTrip, Size: 64, Count: 505, Lot: 100}, count: 505, samples: 6},
			"round trips for a time":   {plan: bench.Plan{Case: bench.RoundTrip, Size: 64, Time: 50 * time.Millisecond}, count: 10},
			"round trips among others": {plan: bench.Plan{Case: bench.RoundTrip, Size: 64, Count: 100, Conns: 20}, count: 100, samples: 100},
			"round trips beside streams": {plan: bench.Plan{Case: bench.RoundTrip, Size: 64, Count: 100, Bulk: 2}, count: 100, samples: 100,
				streams: true},
			"a stream":             {plan: bench.Plan{Case: bench.Stream, Size: 1000, Count: 500}, count: 500, bytes: 500_000, streams: true},
			"a stream for a time":  {plan: bench.Plan{Case: bench.Stream, Size: 16384, Time: 50 * time.Millisecond}, count: 2, streams: true},
			"a stream of the most": {plan: bench.Plan{Case: bench.Stream, Size: bench.MaxSize, Count: 5}, count: 5, bytes: 5 << 20, streams: true},
			"a stream from there":  {plan: bench.Plan{Case: bench.Stream, Size: 1000, Count: 500, Reverse: true}, count: 500, streams: true},
			"many":                 {plan: bench.Plan{Case: bench.Many, Size: 1000, Count: 100, Conns: 20}, count: 2000, bytes: 2_000_000, streams: true},
			"a few of many":        {plan: bench.Plan{Case: bench.Many, Size: 1000, Count: 100, Conns: 50, Bulk: 3}, count: 300, bytes: 300_000, streams: true},
			"connections":          {plan: bench.Plan{Case: bench.Connect, Count: 100}, count: 100, samples: 97},
			"connections in lots":  {plan: bench.Plan{Case: bench.Connect, Count: 100, Lot: 10}, count: 100},
		} {
			t.Run(network+", "+name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				r, err := bench.Run(ctx, dial, c.plan, nil)
				if err != nil {
					t.Fatal(err)
				}
				if r.Count < c.count || r.Seconds <= 0 || r.Rate <= 0 || r.First <= 0 || r.Per == "" || r.Counts["cpu_ns"] < 0 {
					t.Errorf("%+v", r)
				}
				if c.plan.Count > 0 && c.plan.Case != bench.Stream && r.Count != c.count || c.bytes > 0 && r.Bytes != c.bytes || (r.MBs > 0) != c.streams {
					t.Errorf("%+v", r)
				}
				p := r.Percentiles
				if (p == nil) != (c.plan.Case == bench.Stream) {
					t.Fatalf("%+v", p)
				}
				if p != nil && !(0 < p.Min && p.Min <= p.P50 && p.P50 <= p.P90 && p.P90 <= p.P99 && p.P99 <= p.P999 && p.P999 <= p.Max && p.Min <= p.Mean && p.Mean <= p.Max) ||
					c.samples > 0 && p.Samples != c.samples {
					t.Errorf("%+v", p)
				}
				if f := r.Fairness; f != nil && !(0 < f.MinMax && f.MinMax <= 1 && f.MinMax <= f.Jain*float64(c.plan.Conns+c.plan.Bulk) && f.Jain <= 1.0001) {
					t.Errorf("%+v", f)
				}
			})
		}
	}
}

// A round trip takes no memory of either side.
func TestARoundTripAllocatesNothing(t *testing.T) {
	r, err := bench.Run(t.Context(), serve(t, "unix", bench.Config{}), bench.Plan{Case: bench.RoundTrip, Size: 64, Count: 5000}, nil)
	if err != nil || r.Allocs > 0.05 {
		t.Errorf("%v allocations for each, %v", r.Allocs, err)
	}
}

func TestWhatIsCountedBesideIsTheDifference(t *testing.T) {
	calls := uint64(0)
	look := func() bench.Counters {
		calls++
		all := bench.Counters{"notifies": 1000 + 300*calls, "less": 10 - calls}
		if calls > 1 {
			all["new"] = 7
		}
		return all
	}
	r, err := bench.Run(t.Context(), serve(t, "unix", bench.Config{}), bench.Plan{Case: bench.RoundTrip, Size: 64, Count: 100}, look)
	_, less := r.Counts["less"]
	_, fresh := r.Counts["new"]
	if err != nil || calls != 2 || r.Counts["notifies"] != 3 || less || fresh || r.Per != "round trip" {
		t.Errorf("%v, %d looks, %v", r.Counts, calls, err)
	}
}

func TestAMeasurementEndsWithItsContext(t *testing.T) {
	dial := serve(t, "unix", bench.Config{})
	enough := errors.New("enough")
	for _, c := range bench.Cases() {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(30*time.Millisecond, func() { cancel(enough) })
		if _, err := bench.Run(ctx, dial, bench.Plan{Case: c, Size: 64, Time: time.Minute}, nil); !errors.Is(err, enough) {
			t.Errorf("%s: %v", c, err)
		}
	}
}

func TestADialThatFailsEndsIt(t *testing.T) {
	dial, refused := serve(t, "unix", bench.Config{}), errors.New("refused")
	for c, conns := range map[bench.Case]int{bench.RoundTrip: 9, bench.Stream: 9, bench.Many: 9, bench.Connect: 1} {
		n := 0
		_, err := bench.Run(t.Context(), func(ctx context.Context) (net.Conn, error) {
			if n++; n > 3 {
				return nil, refused
			}
			return dial(ctx)
		}, bench.Plan{Case: c, Size: 64, Count: 10, Conns: conns}, nil)
		if !errors.Is(err, refused) {
			t.Errorf("%s: %v", c, err)
		}
	}
}
