package image_test

import (
	"fmt"

	"xvsock/image/benchreport"
)

// benchCase is one comparison.
type benchCase struct {
	name, mode, metric string
	setting            benchSetting
	peerRing           int    // of libxenvchan
	against            string // whom the peer's figure is of
	goal               benchreport.Goal
	ours, peer         func(*benchHost, benchCase) measured
	value              func(measured) float64
	prepare            func(*benchHost, *benchCase)                     // may choose the rings; may be nil
	calls              func(*benchHost, benchCase, *benchreport.Result) // counts system calls; may be nil
}

const (
	smallRing = 64 << 10
	// oneRun is how long a run measures: short, so that both sides of a pair find the
	// machine in the same state.
	oneRun = "0.7s"
	// tripLot is how many round trips are timed together: reading the clock is a system
	// call in a PV domU, 60 us on the rig. fastLot is for trips that make no call at all.
	tripLot, fastLot = 20, 500
)

// The values of cases.
func p50(m measured) float64    { return m.Percentiles["p50"] }
func p99(m measured) float64    { return m.Percentiles["p99"] }
func mbs(m measured) float64    { return m.MBs }
func perSec(m measured) float64 { return m.Rate }
func first(m measured) float64  { return m.First }

// vchanIs is whom most cases are compared with.
const vchanIs = "libxenvchan"

// benchCases are all comparisons, in an order in which few need another setting.
func benchCases() []benchCase {
	var all []benchCase
	for _, mode := range []string{"copy", "map"} {
		all = append(all, tripCases(mode)...)
		all = append(all, streamCases(mode)...)
		all = append(all, manyCases(mode)...)
	}
	all = append(all, otherWays()...)
	for _, mode := range []string{"copy", "map"} {
		all = append(all, sleepCase(mode))
	}
	return append(all, bestCases()...)
}

// tripCases are round trips with the defaults.
func tripCases(mode string) []benchCase {
	var all []benchCase
	for _, of := range []struct {
		name string
		size int
	}{{"rr-64B", 64}, {"rr-1B", 1}, {"rr-1K", 1 << 10}, {"rr-16K", 16 << 10}} {
		c := newBenchCase(of.name, mode, benchreport.Microseconds, p50)
		c.ours = oursIs("rr", fmt.Sprintf("--size %d --lot %d", of.size, oursLot(mode)))
		c.peer = vchan("rr", of.size, oneRun, tripLot)
		if of.size == 64 {
			c.goal = benchreport.Goal{AtMost: map[string]float64{"copy": 0.6, "map": 0.02}[mode]}
			c.calls = tripCalls
		}
		all = append(all, c)
	}
	return all
}

// oursLot is how many of our round trips are timed together, if both sides poll.
func oursLot(mode string) int {
	if mode == "map" {
		return fastLot
	}
	return tripLot
}

// sleepCase is a round trip with polling switched off.
func sleepCase(mode string) benchCase {
	c := newBenchCase("rr-64B-sleep", mode, benchreport.Microseconds, p50)
	c.setting.sleep = true
	c.goal = benchreport.Goal{AtMost: map[string]float64{"copy": 1.5, "map": 0.9}[mode]}
	c.ours = oursIs("rr", fmt.Sprintf("--size 64 --lot %d", tripLot))
	c.peer, c.calls = vchan("rr", 64, oneRun, tripLot), tripCalls
	return c
}

// streamCases are streams by the size of their messages, with small rings.
func streamCases(mode string) []benchCase {
	var all []benchCase
	for _, of := range []struct {
		name string
		size int
	}{{"stream-64K", 16 << 10}, {"stream-64K-64B", 64}, {"stream-64K-1K", 1 << 10}, {"stream-64K-4K", 4 << 10}, {"stream-64K-64K", 64 << 10}} {
		c := newBenchCase(of.name, mode, benchreport.Throughput, mbs)
		c.ours = oursIs("stream", fmt.Sprintf("--size %d", of.size))
		c.peer = vchan("stream", of.size, oneRun, max(1, (64<<10)/of.size))
		if of.size == 16<<10 {
			c.goal = benchreport.Goal{AtLeast: map[string]float64{"copy": 1.2, "map": 3}[mode]}
			c.calls = streamCalls
		}
		all = append(all, c)
	}
	return all
}

// manyCases are many connections on one link: all sending, whose sum is compared with
// the peer's one stream; a small request beside ten streams, compared with itself
// alone; and how often connections can be made.
func manyCases(mode string) []benchCase {
	var all []benchCase
	for _, n := range []int{1, 10, 100, 1000} {
		c := newBenchCase(fmt.Sprintf("many-%d", n), mode, benchreport.Throughput, mbs)
		c.ours = oursIs("many", fmt.Sprintf("--size %d --conns %d", 16<<10, n))
		c.ours = withoutRing(c.ours) // the chart of streams is of one connection
		c.peer = withoutRing(vchan("stream", 16<<10, oneRun, 4))
		all = append(all, c)
	}
	busy := newBenchCase("rr-64B-busy", mode, benchreport.Microseconds, p99)
	busy.against = "the same alone"
	busy.ours = oursIs("rr", "--size 64 --conns 1000 --bulk 10")
	busy.peer = oursIs("rr", "--size 64")
	if mode == "copy" {
		busy.goal = benchreport.Goal{AtMost: 5}
	}
	connect := newBenchCase("connect", mode, benchreport.Rate, perSec)
	connect.ours = oursIs("connect", "")
	connect.peer = vchan("connect", 1, oneRun, 1)
	return append(all, busy, connect, linkCase(mode))
}

// linkCase is a first connection to a domain, which makes the link: the manager is
// asked, and both sides set up their rings. The peer's server has set up its own before,
// and knows its client: only the client's half is timed.
func linkCase(mode string) benchCase {
	c := newBenchCase("link", mode, benchreport.Microseconds, first)
	c.ours = func(h *benchHost, _ benchCase) measured {
		h.restart(h.a)
		return h.measure(oursTo("b", "connect", "--count 1", "", ""))
	}
	c.peer = vchan("connect", 1, "5", 1)
	c.value = func(m measured) float64 {
		if m.First > 0 {
			return m.First
		}
		return p50(m)
	}
	return c
}

// otherWays are dom0 over the front link, and the kernel's sockets.
func otherWays() []benchCase {
	trip := newBenchCase("rr-64B-dom0", "copy", benchreport.Microseconds, p50)
	trip.ours = oursOver("@backend", "rr", fmt.Sprintf("--size 64 --lot %d", tripLot))
	trip.peer = vchanDom0("rr", 64, oneRun, tripLot)
	stream := newBenchCase("stream-dom0", "copy", benchreport.Throughput, mbs)
	stream.ours = withoutRing(oursOver("@backend", "stream", fmt.Sprintf("--size %d", 16<<10)))
	stream.peer = withoutRing(vchanDom0("stream", 16<<10, oneRun, 4))
	kernelTrip := newBenchCase("rr-64B-afvsock", "copy", benchreport.Microseconds, p50)
	kernelTrip.ours = oursByKernel("rr", fmt.Sprintf("--size 64 --lot %d", tripLot))
	kernelTrip.peer = vchan("rr", 64, oneRun, tripLot)
	kernelStream := newBenchCase("stream-afvsock", "copy", benchreport.Throughput, mbs)
	kernelStream.ours = withoutRing(oursByKernel("stream", fmt.Sprintf("--size %d", 16<<10)))
	kernelStream.peer = withoutRing(vchan("stream", 16<<10, oneRun, 4))
	return []benchCase{trip, stream, kernelTrip, kernelStream}
}

// bestCases are streams through the rings that suit each side best.
func bestCases() []benchCase {
	stream := oursIs("stream", fmt.Sprintf("--size %d", 16<<10))
	peer := vchan("stream", 16<<10, oneRun, 16)
	best := newBenchCase("stream-best", "map", benchreport.Throughput, mbs)
	best.goal = benchreport.Goal{AtLeast: 1}
	best.ours, best.peer, best.prepare = stream, peer, chooseRings
	ceiling := newBenchCase("stream-ceiling", "copy", benchreport.Throughput, mbs)
	ceiling.goal = benchreport.Goal{AtLeast: 0.8}
	ceiling.against = "GRANT_COPY alone"
	ceiling.ours, ceiling.prepare = oursIs("stream", fmt.Sprintf("--size %d", 64<<10)), chooseRings
	ceiling.peer = func(h *benchHost, _ benchCase) measured {
		return h.measure(fmt.Sprintf("ceiling copy %v %s %s", h.b.ID, oneRun, h.ceilingRefs()))
	}
	return []benchCase{best, ceiling}
}

// newBenchCase is a case with what most cases have.
func newBenchCase(name, mode, metric string, value func(measured) float64) benchCase {
	return benchCase{
		name: name, mode: mode, metric: metric, value: value, against: vchanIs,
		setting: benchSetting{mode: mode, ring: smallRing}, peerRing: smallRing,
	}
}

// chooseRings gives each side of a case the rings with which it is fastest.
func chooseRings(h *benchHost, c *benchCase) {
	var ours, peer float64
	fitting, peerFitting := c.setting.ring, c.peerRing
	for _, ring := range []int{64 << 10, 256 << 10, 1 << 20} {
		try := *c
		try.setting.ring, try.peerRing = ring, ring
		h.configure(try.setting)
		for range 3 {
			if v := c.value(c.ours(h, try)); v > ours {
				ours, fitting = v, ring
			}
			if v := c.value(c.peer(h, try)); v > peer {
				peer, peerFitting = v, ring
			}
		}
	}
	h.tb.Logf("%s %s: best rings: ours %d KiB, the peer's %d KiB", c.name, c.mode, fitting>>10, peerFitting>>10)
	c.setting.ring, c.peerRing = fitting, peerFitting
}
