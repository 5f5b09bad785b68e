package scale

import (
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"xvsock/services"
	"xvsock/vsock"
)

// BenchmarkFrontends says what a frontend costs where there are so many, and how long
// it takes another one to connect. All daemons run in this process: memory and time
// are those of both ends of each link, and of the simulated host.
//
// One run is one measurement whatever b.N is; -count repeats it.
func BenchmarkFrontends(b *testing.B) {
	for _, rules := range []struct{ name, text string }{
		{"one-server", clientsOfOneServer},
		{"everybody", "* * * allow"},
	} {
		for _, n := range []int{10, 100, 500} {
			if rules.name == "everybody" && n > 100 && testing.Short() {
				continue
			}
			b.Run(fmt.Sprintf("rules=%s/n=%d", rules.name, n), func(b *testing.B) { benchmarkFrontends(b, n, rules.text) })
		}
	}
}

func benchmarkFrontends(b *testing.B, n int, rules string) {
	f := newFleet(b, rules)
	server, _ := f.join("server")
	server.serve(b)
	before, threads := heap(), runtime.NumGoroutine()

	begin := time.Now()
	f.add(n)
	f.awaitLinks(n + 1)
	up := time.Since(begin)
	f.awaitQuiet()
	b.ReportMetric(0, "ns/op") // says nothing
	b.ReportMetric(ms(up)/float64(n), "start-ms/frontend")
	b.ReportMetric(float64(heap()-before)/1024/float64(n), "heap-KiB/frontend")
	b.ReportMetric(float64(runtime.NumGoroutine()-threads)/float64(n), "goroutines/frontend")
	b.ReportMetric(100*f.processor(5*time.Second), "idle-cpu-%")
	f.reportLatencies(b, server)
}

// reportLatencies measures with guests that come after all others.
func (f *fleet) reportLatencies(b *testing.B, server *guest) {
	const guests, dials = 5, 200
	var joined, made, dialed []time.Duration
	for i := range guests {
		g, took := f.join(fmt.Sprint("guest-", i))
		joined = append(joined, took)
		g.awaitPeer(b, server)
		// The first connection makes the link.
		made = append(made, g.connect(b, vsock.CIDOf(server.dom.ID()), servedPort))
		for range dials {
			dialed = append(dialed, g.connect(b, vsock.CIDBackend, services.PortEcho))
			time.Sleep(time.Millisecond)
		}
	}
	b.ReportMetric(ms(median(joined)), "front-link-ms")
	b.ReportMetric(ms(median(made)), "peer-link-ms")
	b.ReportMetric(1000*ms(median(dialed)), "connect-us")
}

func median(all []time.Duration) time.Duration { return slices.Sorted(slices.Values(all))[len(all)/2] }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// heap is the bytes that something refers to.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools have kept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// awaitLinks waits until the backend has so many front links: of each it grants a page.
func (f *fleet) awaitLinks(n int) {
	f.tb.Helper()
	for end := time.Now().Add(2 * time.Minute); f.host.Domain(0).Granted() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.tb.Fatalf("%d of %d frontends have a link", f.host.Domain(0).Granted(), n)
		}
	}
}

// awaitQuiet waits until the daemons have said all that they had to say: until the
// processor has nothing to do for a second.
func (f *fleet) awaitQuiet() {
	f.tb.Helper()
	for end := time.Now().Add(2 * time.Minute); f.processor(time.Second) > 0.1; {
		if time.Now().After(end) {
			f.tb.Fatal("the daemons do not come to rest")
		}
	}
}

// processor is the share of one processor that the process uses within so long.
func (f *fleet) processor(within time.Duration) float64 {
	f.tb.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			f.tb.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	time.Sleep(within)
	return float64(used()-before) / float64(within)
}
