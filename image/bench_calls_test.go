package image_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"xvsock/image/benchreport"
	"xvsock/image/rig"
)

// What the guests' kernels count depends on no machine: how many system calls both
// sides together make for a round trip, or for a MiB. Two runs that differ in length
// alone are compared, so that connecting and leaving do not count.

// callsTrigger counts system calls of processes of a name, by their names, in the kernel.
const callsTrigger = `hist:keys=id.syscall:size=512 if comm == "%s"`

// warmUp is how much of a number of round trips both programs make before they count.
const warmUp = 1.1

// tripCalls counts for a round trip of 64 B.
func tripCalls(h *benchHost, c benchCase, r *benchreport.Result) {
	lot, few, many := tripLot, 400, 6400
	if c.mode == "map" && !c.setting.sleep {
		lot, few, many = fastLot, 10000, 60000
	}
	r.OursFigures = h.addCalls(r.OursFigures, benchDaemon, "round trip", warmUp, few, many, func(n int) string {
		return oursTo("b", "rr", fmt.Sprintf("--size 64 --lot %d --count %d --time %s", lot, n, countTime), "", "")
	})
	client := h.vchanServer(h.b, c.peerRing)
	r.PeerFigures = h.addCalls(r.PeerFigures, "vchan", "round trip", warmUp, 400, 6400, func(n int) string {
		return fmt.Sprintf("%s rr 64 %d %d", client, n, tripLot)
	})
}

// streamCalls counts for a MiB in messages of 16 KiB.
func streamCalls(h *benchHost, c benchCase, r *benchreport.Result) {
	const few, many, perMiB = 1024, 5120, 64
	r.OursFigures = h.addCalls(r.OursFigures, benchDaemon, "MiB", 1.0/perMiB, few, many, func(n int) string {
		return oursTo("b", "stream", fmt.Sprintf("--size %d --count %d --time %s", 16<<10, n, countTime), "", "")
	})
	client := h.vchanServer(h.b, c.peerRing)
	r.PeerFigures = h.addCalls(r.PeerFigures, "vchan", "MiB", 1.0/perMiB, few, many, func(n int) string {
		return fmt.Sprintf("%s stream %d %d 1", client, 16<<10, n)
	})
}

// countTime bounds runs in which system calls are counted.
const countTime = "20s"

// addCalls counts the system calls of processes of a name in a and b while a command
// runs, once for few operations and once for many, and adds to the figures how many one
// more takes. An operation is factor times one of those that the command says it made.
func (h *benchHost) addCalls(f benchreport.Figures, name, per string, factor float64, few, many int, command func(n int) string) benchreport.Figures {
	h.tb.Helper()
	before, less := h.countCalls(name, command(few))
	after, more := h.countCalls(name, command(many))
	ops := (more.Count - less.Count) * factor
	if ops <= 0 {
		h.tb.Logf("%s made %v and %v: no system calls are counted", name, less.Count, more.Count)
		return f
	}
	var all float64
	var text []string
	for _, call := range slices.Sorted(maps.Keys(after)) {
		n := float64(after[call]-before[call]) / ops
		all += n
		if n >= 0.005 || n <= -0.005 {
			text = append(text, fmt.Sprintf("%s %.2f", strings.TrimPrefix(call, "sys_"), n))
		}
	}
	h.tb.Logf("system calls of %s in both domains for a %s: %.2f (%s)", name, per, all, strings.Join(text, ", "))
	f = maps.Clone(f)
	f["system calls per "+per] = all
	return f
}

// countCalls counts the system calls of processes of a name while a command measures.
func (h *benchHost) countCalls(name, command string) (map[string]int, measured) {
	h.tb.Helper()
	const file = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/"
	trigger := fmt.Sprintf(callsTrigger, name)
	both := []*rig.Domain{h.a, h.b}
	for _, d := range both {
		h.in(d, fmt.Sprintf("echo '%s' >%strigger", trigger, file))
	}
	m := h.measure(command)
	calls := make(map[string]int)
	for _, d := range both {
		for call, n := range parseHist(h.in(d, fmt.Sprintf("cat %[1]shist; echo '!%[2]s' >%[1]strigger", file, trigger))) {
			calls[call] += n
		}
	}
	return calls, m
}

var histLine = regexp.MustCompile(`\{ id: (\w+) +\[ *\d+\] \} hitcount: +(\d+)`)

// parseHist reads a histogram of system calls as the kernel prints it.
func parseHist(text string) map[string]int {
	calls := make(map[string]int)
	for _, m := range histLine.FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(m[2])
		if err == nil {
			calls[m[1]] += n
		}
	}
	return calls
}
