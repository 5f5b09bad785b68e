package bench_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/bench"
	"xvsock/services/rpc/rpctest"
)

// slow answers each message after a millisecond, every hundredth after ten.
func slow(c net.Conn) {
	message := make([]byte, 64)
	for n := 1; ; n++ {
		if _, err := io.ReadFull(c, message); err != nil {
			return
		}
		time.Sleep(time.Millisecond)
		if n%100 == 0 {
			time.Sleep(9 * time.Millisecond)
		}
		if _, err := c.Write(message); err != nil {
			return
		}
	}
}

// The times are exact, those of the warm-up do not count, and the end is when it was to be.
func TestRoundTripsAreTimedAsTheyAre(t *testing.T) {
	for name, c := range map[string]struct {
		plan           bench.Plan
		count, samples uint64
		p50, p999      float64
		seconds        float64
	}{
		"by count":         {bench.Plan{Count: 1000}, 1000, 1000, 1000, 10000, 1.09},
		"by time":          {bench.Plan{Time: 1090 * time.Millisecond}, 1000, 1000, 1000, 10000, 1.09},
		"by both":          {bench.Plan{Time: time.Minute, Count: 100}, 100, 100, 1000, 10000, 0.109},
		"in lots of ten":   {bench.Plan{Count: 1000, Lot: 10}, 1000, 100, 1000, 1900, 1.09},
		"in one large lot": {bench.Plan{Count: 1000, Lot: 5000}, 1000, 1, 1090, 1090, 1.09},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.plan.Case, c.plan.Size = bench.RoundTrip, 64
				r, err := bench.Run(t.Context(), against(yes(slow)), c.plan, nil)
				if err != nil {
					t.Fatal(err)
				}
				if p := r.Percentiles; r.Count != c.count || p.Samples != c.samples || p.P50 != c.p50 || p.P999 != c.p999 || r.Seconds != c.seconds {
					t.Errorf("%+v, %+v", r, p)
				}
			})
		})
	}
}

// late is a client's connection that takes a millisecond for each message, and a second
// before the first and after the last.
type late struct {
	end
	sent *int
}

func (l late) Write(b []byte) (int, error) {
	if *l.sent++; *l.sent == 2 { // after the hello
		time.Sleep(time.Second)
	}
	time.Sleep(time.Millisecond)
	return l.end.Write(b)
}

func (l late) Read(b []byte) (int, error) {
	defer time.Sleep(time.Second)
	return l.end.Read(b)
}

// What counts of a stream is when the receiver had it.
func TestAStreamIsTimedByItsReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := rpctest.NewListener()
		rpctest.Serve(t, bench.NewServer(bench.Config{Identify: anybody}), l)
		dial := func(context.Context) (net.Conn, error) {
			near, other := net.Pipe()
			r, w := io.Pipe()
			l.Give(end{other, r, other})
			return late{end{near, near, w}, new(int)}, nil
		}
		r, err := bench.Run(t.Context(), dial, bench.Plan{Case: bench.Stream, Size: 1000, Count: 1001}, nil)
		if err != nil || r.Seconds != 1 || r.MBs != 1.001 || r.Bytes != 1_001_000 || r.Rate != 1001 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
