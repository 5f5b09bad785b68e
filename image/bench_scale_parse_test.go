package image_test

import (
	"maps"
	"strings"
	"testing"
	"time"
)

// grown is what a backend costs to which each frontend adds the same.
func grown(n float64) scaleCost {
	return scaleCost{
		"frontends": n, "goroutines": 29 + 5*n, "ports": 2 * n, "pages_granted": n, "files": 14 + n, "nodes": 12 * n,
		"rss_kib": 7000 + 900*n*n, "idle_cpu_ms": 40 * n, "idle_calls": 330 * n, "idle_copies": 11.5 * n,
	}
}

func TestACostThatGrowsWithTheNumberOfFrontendsIsNotFlat(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(costs []scaleCost)
		want   string // part of the only problem; empty: there is none
	}{
		{"each adds the same", func([]scaleCost) {}, ""},
		{"the first one costs what all share", func(all []scaleCost) { all[0]["goroutines"] -= 2 }, ""},
		{"a goroutine more for each two", func(all []scaleCost) { all[3]["goroutines"] += 4 }, "goroutines: 5.00 for each frontend from 1 to 4, 5.50"},
		{"a port more in all", func(all []scaleCost) { all[3]["ports"]++ }, "ports"},
		{"a file less where there are few", func(all []scaleCost) { all[1]["files"]-- }, "files"},
		{"a page that is mapped", func(all []scaleCost) { all[3]["pages_mapped"] = 1 }, "pages_mapped"},
	} {
		costs := []scaleCost{grown(0), grown(1), grown(4), grown(12)}
		c.change(costs)
		checkProblems(t, c.name, notFlat(costs), c.want)
	}
	checkProblems(t, "two measurements", notFlat([]scaleCost{grown(0), grown(1)}), "")
}

func TestABackendThatPollsIsNotQuiet(t *testing.T) {
	for _, c := range []struct {
		figure string
		value  float64
		want   string
	}{
		{"idle_calls", 12 * 330, ""},
		{"idle_calls", 12 * 1000, "12 frontends"},
		{"idle_copies", 12 * 40, "idle_copies 480.0"},
		{"idle_polls", 1, "idle_polls"},
		{"idle_naps", 1, "idle_naps"},
		{"idle_cpu_ms", 2000, "idle_cpu_ms"},
	} {
		cost := grown(12)
		cost[c.figure] = c.value
		checkProblems(t, c.figure, notQuiet([]scaleCost{grown(0), cost}), c.want)
	}
}

func checkProblems(t *testing.T, name string, got []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(got) != 0, want != "" && (len(got) != 1 || !strings.Contains(got[0], want)):
		t.Errorf("%s: problems %q, want %q", name, got, want)
	}
}

func TestWhatABackendSaysOfItself(t *testing.T) {
	got := sumMetrics("# HELP go_goroutines Goroutines.\ngo_goroutines 29\n" +
		"xvsock_link_up{domain=\"1\",name=\"a b\",kind=\"frontend\"} 1\n" +
		"xvsock_link_work_total{domain=\"1\",work=\"copies\"} 7\nxvsock_link_work_total{domain=\"2\",work=\"copies\"} 1.5e+01\n" +
		"xvsock_link_work_total{domain=\"2\",work=\"polls\"} 3\n\nnonsense\nnonsense x\n")
	want := map[string]float64{"go_goroutines": 29, "xvsock_link_up": 1, "copies": 22, "polls": 3}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestWhatProcSaysOfABackend(t *testing.T) {
	maps := `7f233ffaf000-7f233ffb0000 rw-s 00003000 00:05 113                        /dev/xen/gntalloc
7f233ffb0000-7f233ffc1000 r--s 00002000 00:05 112                        /dev/xen/gntdev
7f233ffd0000-7f233ffd1000 r--s 00012000 00:05 112                        /dev/xen/gntdev
c000000000-c000400000 rw-p 00000000 00:00 0
`
	if got := mappedPages(maps, "/dev/xen/gntdev"); got != 18 {
		t.Errorf("%d pages, want 18", got)
	}
	if got := ranFor("2500000 15681646 70\n500000 1 1\n"); got != 3*time.Millisecond {
		t.Errorf("ran for %v, want 3ms", got)
	}
	const status = "Name:\txvsock\nVmHWM:\t    9000 kB\nVmRSS:\t    8976 kB\nThreads:\t10\n"
	if rss, threads, none := statusField(status, "VmRSS:"), statusField(status, "Threads:"), statusField(status, "VmSwap:"); rss != 8976 || threads != 10 || none != 0 {
		t.Errorf("%v KiB, %v threads, %v; want 8976, 10 and 0", rss, threads, none)
	}
}
