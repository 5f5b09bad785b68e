package main

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the test binary be the server in a process of its own.
func TestMain(m *testing.M) {
	if is, err := serveChild(); is {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// open opens a contestant's wire for a test.
func open(tb testing.TB, c contestant) *wire {
	tb.Helper()
	w, err := c.open()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := w.stop(); err != nil {
			tb.Error(err)
		}
	})
	return w
}

// No message of ours costs an allocation, on either side, once the windows have grown.
func TestAMessageAllocatesNothing(t *testing.T) {
	for _, c := range links() {
		for _, m := range []struct {
			kind kind
			size int
		}{{echo, 64}, {echo, 16 << 10}, {sink, 64}, {sink, 16 << 10}, {sink, 64 << 10}} {
			t.Run(fmt.Sprintf("%s %c %d B", c.name, m.kind, m.size), func(t *testing.T) {
				testAllocations(t, open(t, c), m.kind, m.size)
			})
		}
	}
}

func testAllocations(t *testing.T, w *wire, k kind, size int) {
	const warm, runs = 300, 500
	if err := w.begin(k, size, warm+runs+1); err != nil {
		t.Fatal(err)
	}
	message := w.trip
	if k == sink {
		message = w.send
	}
	once := func() {
		if err := message(); err != nil {
			t.Fatal(err)
		}
	}
	for range warm {
		once()
	}
	if n := testing.AllocsPerRun(runs, once); n != 0 {
		t.Errorf("%v allocations a message", n)
	}
	if k == sink {
		if err := w.finish(); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkRoundTrip is a message to the server and back, one at a time.
func BenchmarkRoundTrip(b *testing.B) {
	bench(b, []int{64}, func(b *testing.B, w *wire, size int) {
		if err := w.begin(echo, size, uint64(b.N)); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			if err := w.trip(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkStream is messages one way, until the last one was read.
func BenchmarkStream(b *testing.B) {
	bench(b, []int{16 << 10, 64 << 10}, func(b *testing.B, w *wire, size int) {
		if err := w.begin(sink, size, uint64(b.N)); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(size))
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			if err := w.send(); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.finish(); err != nil {
			b.Fatal(err)
		}
	})
}

// bench runs f for messages of each size by each contestant.
func bench(b *testing.B, sizes []int, f func(b *testing.B, w *wire, size int)) {
	for _, size := range sizes {
		for _, c := range contestants() {
			b.Run(fmt.Sprintf("size=%d/by=%s", size, c.name), func(b *testing.B) {
				w := open(b, c)
				report := counting(b, w)
				f(b, w, size)
				report()
			})
		}
	}
}

// counting begins to count the calls into the simulated host. The function that it
// returns reports them by message.
func counting(b *testing.B, w *wire) (report func()) {
	if w.counts == nil {
		return func() {}
	}
	before := w.counts()
	return func() {
		after := w.counts()
		var copies, segments, notifies, unmasks float64
		for i := range after {
			d := after[i].Minus(before[i])
			copies, segments = copies+float64(d.Copies), segments+float64(d.Segments)
			notifies, unmasks = notifies+float64(d.Notifies), unmasks+float64(d.Unmasks)
		}
		n := float64(b.N)
		b.ReportMetric(copies/n, "copies/op")
		b.ReportMetric(segments/n, "segments/op")
		b.ReportMetric(notifies/n, "notifies/op")
		b.ReportMetric(unmasks/n, "unmasks/op")
	}
}
