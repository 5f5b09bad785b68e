package image_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
)

// cost counts and times what the backend costs with n frontends while it has nothing to
// do.
func (h *scaleHost) cost(n int) scaleCost {
	h.tb.Helper()
	c := h.rest()
	c["frontends"], c["ports"] = float64(n), float64(h.ports)
	maps.Copy(c, h.quiet())
	c["idle_calls"] = h.quietCalls()
	for _, name := range []string{"goroutines", "files", "watches", "threads", "rss_kib", "heap_kib"} {
		if c[name] <= 0 {
			h.tb.Fatalf("%s is %v: it was not read", name, c[name])
		}
	}
	return c
}

// rest waits until each frontend has a link that carries nothing but its conversation
// with the manager, and what the backend holds does not change any more.
func (h *scaleHost) rest() scaleCost {
	h.tb.Helper()
	const looks = 3
	last, same := h.count(), 0
	for deadline := time.Now().Add(2 * time.Minute); same < looks; {
		if time.Now().After(deadline) {
			h.tb.Fatalf("the backend does not come to rest: %v", last)
		}
		now := h.count()
		if now["links"] == float64(len(h.names)) && now["connections"] == now["links"] && h.held(now, last) {
			same++
		} else {
			same = 0
		}
		last = now
		h.Sh("sleep 1")
	}
	return last
}

// held reports whether two counts are the same in what can be counted.
func (h *scaleHost) held(a, b scaleCost) bool {
	for _, f := range scaleFigures() {
		if f.flat && a[f.name] != b[f.name] {
			return false
		}
	}
	return true
}

// count counts what the backend holds, ports left out.
func (h *scaleHost) count() scaleCost {
	h.tb.Helper()
	var s struct {
		Goroutines, Watches int
		Links               []struct {
			Up                 bool
			Connections, Pages int
		}
	}
	if err := json.Unmarshal([]byte(h.Sh("xvsock status -o json")), &s); err != nil {
		h.tb.Fatal(err)
	}
	c := scaleCost{"goroutines": float64(s.Goroutines), "watches": float64(s.Watches)}
	for _, l := range s.Links {
		if l.Up {
			c["links"]++
		}
		c["connections"] += float64(l.Connections)
		c["pages_granted"] += float64(l.Pages)
	}
	proc := fmt.Sprintf("/proc/%d/", h.backend.PID())
	c["pages_mapped"] = float64(mappedPages(h.Sh("cat "+proc+"maps"), "/dev/xen/gntdev"))
	c["files"] = float64(strings.Count(h.Sh("ls "+proc+"fd"), "\n"))
	c["nodes"] = float64(strings.Count(h.Sh("xenstore-ls /local/domain/0/backend/xvsock 2>/dev/null || true"), "\n"))
	status := h.Sh("cat " + proc + "status")
	c["threads"], c["rss_kib"] = statusField(status, "Threads:"), statusField(status, "VmRSS:")
	return c
}

// quiet leaves the backend alone and says what it does meanwhile. Asking it for what it
// has done costs it more than all of that: the processor's time is taken without.
func (h *scaleHost) quiet() scaleCost {
	h.tb.Helper()
	before := h.metrics()
	cpu := fmt.Sprintf("cat /proc/%d/task/*/schedstat", h.backend.PID())
	out := h.Sh(fmt.Sprintf("sleep 1; %[1]s; echo; sleep %[2]d; %[1]s", cpu, quietSeconds))
	after := h.metrics()
	begin, end, _ := strings.Cut(out, "\n\n")
	passed := after["xvsock_uptime_seconds"] - before["xvsock_uptime_seconds"]
	if ranFor(begin) <= 0 || passed <= 0 || len(h.names) > 0 && after["copies"] <= 0 {
		h.tb.Fatalf("no figures in %q and %v", out, after)
	}
	c := scaleCost{"heap_kib": after["go_memstats_heap_alloc_bytes"] / 1024}
	c["idle_cpu_ms"] = float64(ranFor(end)-ranFor(begin)) / float64(time.Millisecond)
	for _, work := range []string{"copies", "notifies", "polls", "naps", "sleeps"} {
		c["idle_"+work] = (after[work] - before[work]) * quietSeconds / passed // which is longer, by the asking
	}
	return c
}

// quietCalls leaves the backend alone again and counts its system calls. Counting makes
// them slower.
func (h *scaleHost) quietCalls() (n float64) {
	h.tb.Helper()
	out := h.Sh(fmt.Sprintf("cd /sys/kernel/tracing/events/raw_syscalls/sys_enter; sleep 1; echo '%[1]s' >trigger; sleep %[2]d; cat hist; echo '!%[1]s' >trigger",
		fmt.Sprintf(callsTrigger, "xvsock"), quietSeconds))
	if !strings.Contains(out, "Totals:") {
		h.tb.Fatalf("no histogram in %q", out)
	}
	for _, calls := range parseHist(out) {
		n += float64(calls)
	}
	return n
}

// metrics are what the backend says of itself.
func (h *scaleHost) metrics() map[string]float64 {
	h.tb.Helper()
	return sumMetrics(h.Sh("xvsock metrics"))
}

// sumMetrics reads the text format of Prometheus: each metric without its labels, and
// the work done for links by its kind, in sum.
func sumMetrics(text string) map[string]float64 {
	all := make(map[string]float64)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		blank := strings.LastIndex(line, " ") // labels may have some too
		n, err := strconv.ParseFloat(line[blank+1:], 64)
		if blank < 0 || err != nil || line[0] == '#' {
			continue
		}
		name, labels, _ := strings.Cut(line[:blank], "{")
		if _, work, ok := strings.Cut(labels, `work="`); ok {
			name, _, _ = strings.Cut(work, `"`)
		}
		all[name] += n
	}
	return all
}

// ranFor adds up how long threads had a processor: the first word of their schedstat.
func ranFor(text string) (sum time.Duration) {
	for line := range strings.Lines(text) {
		first, _, _ := strings.Cut(line, " ")
		n, _ := strconv.ParseInt(first, 10, 64)
		sum += time.Duration(n)
	}
	return sum
}

// statusField is the number behind a word in /proc/PID/status.
func statusField(text, word string) float64 {
	_, rest, _ := strings.Cut(text, word)
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseFloat(fields[0], 64)
	return n
}

// mappedPages is how many pages of a file /proc/PID/maps lists.
func mappedPages(text, file string) (pages uint64) {
	for scan := bufio.NewScanner(strings.NewReader(text)); scan.Scan(); {
		bounds, rest, _ := strings.Cut(scan.Text(), " ")
		from, to, _ := strings.Cut(bounds, "-")
		begin, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if strings.HasSuffix(rest, " "+file) && err1 == nil && err2 == nil {
			pages += (end - begin) >> 12
		}
	}
	return pages
}
