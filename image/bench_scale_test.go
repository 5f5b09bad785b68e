package image_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"xvsock/image"
	"xvsock/image/benchreport"
	"xvsock/image/rig"
)

// BenchmarkScale says what a frontend costs the backend in dom0 of a real Xen host that
// has 1, then 4, then 12 of them, which are PV service domains of the least memory that
// Debian's kernel loads in: memory, goroutines, event channels, pages, and processor
// time while nothing is asked of it; and how long it takes dom0 to connect to the newest
// one. bench/scale has the like of it on a simulated host, with 500.
//
// What can be counted must be the same for each frontend, however many there are. What
// the backend does in ten seconds in which nothing is asked of it has bounds. All else
// is only reported. The results are printed and written to build/bench-scale.json.
//
// One run is one measurement whatever b.N is.
func BenchmarkScale(b *testing.B) {
	h := newScaleHost(b)
	none := h.cost(0)
	costs := []scaleCost{none}
	for _, n := range []int{1, 4, 12} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			h.during(b)
			h.grow(n)
			c := h.cost(n)
			h.connects(c)
			costs = append(costs, c)
			c.report(b, none)
		})
	}
	h.during(b)
	b.Logf("the backend in dom0, with so many frontends and for each one more:\n%s", scaleTable(costs))
	for _, problem := range slices.Concat(notFlat(costs), notQuiet(costs)) {
		b.Error(problem)
	}
	if len(costs) < 4 {
		return // not all were wanted, or one failed
	}
	if err := writeScale(filepath.Join("..", "build", "bench-scale.json"), costs); err != nil {
		b.Error(err)
	}
}

const (
	// scaleMemoryMB is of each frontend: Debian's kernel does not load in 64 MiB.
	scaleMemoryMB = 96
	// scaleRules let dom0 reach what it measures, and frontends nothing of each other:
	// what one costs can then not hang on whom it may connect to.
	scaleRules = "echo @backend * allow\nbench @backend * allow\n"
	// quietSeconds is how long the backend is watched while nothing is asked of it.
	quietSeconds = 10
)

// scaleHost is a Xen host whose dom0 has a backend, and service domains as frontends.
type scaleHost struct {
	*rig.Scenario
	tb      testing.TB
	ramdisk string
	backend *rig.Process
	names   []string // of the frontends
	ports   int      // that the backend has bound for them
}

// newScaleHost boots a host that has room for all frontends, and starts the backend.
func newScaleHost(b *testing.B) *scaleHost {
	b.Helper()
	dir := b.TempDir()
	h := &scaleHost{
		tb: b, Scenario: rig.Boot(b, rig.Config{MemoryMB: 2560, StepTimeout: 3 * time.Minute}),
		ramdisk: filepath.Join(dir, "service.cpio.gz"),
	}
	xvsock := filepath.Join(dir, "xvsock")
	if err := rig.BuildProgram(b.Context(), "xvsock", xvsock); err != nil {
		b.Fatal(err)
	}
	if _, err := image.Build(image.Options{
		Output: h.ramdisk, Program: xvsock, Kernel: h.Parts.Guest.Image, ModulesDir: h.Parts.Guest.Modules,
	}); err != nil {
		b.Fatal(err)
	}
	h.Put(xvsock, "/usr/bin/xvsock")
	h.Sh(fmt.Sprintf("mkdir -p %s && printf '%s' >%s", filepath.Dir(policyFile), strings.ReplaceAll(scaleRules, "\n", `\n`), policyFile))
	h.Sh("mount -t tracefs tracefs /sys/kernel/tracing")
	h.backend = h.Background("xvsock backend --service echo --service bench")
	h.Sh("until xvsock status; do sleep 0.1; done 2>/dev/null >&2")
	return h
}

// during has the steps that follow end tb when they fail.
func (h *scaleHost) during(tb testing.TB) { h.tb, h.Scenario = tb, h.Scenario.With(tb) }

// grow adds frontends until there are n, and waits for their links. The ports that the
// toolstack itself has to a domain are there before it is attached, and do not count.
func (h *scaleHost) grow(n int) {
	h.tb.Helper()
	var added []*rig.Domain
	for i := len(h.names); i < n; i++ {
		added = append(added, h.Guest(rig.Guest{
			Name: fmt.Sprint("service-", i+1), Ramdisk: h.ramdisk, MemoryMB: scaleMemoryMB,
			Cmdline: "xvsock.service=echo xvsock.service=bench",
		}))
	}
	for _, d := range added {
		h.Await(d, "xvsock: ready in")
	}
	before := h.allPorts()
	for _, d := range added {
		h.Sh("xvsock attach " + d.Name)
		h.names = append(h.names, d.Name)
	}
	h.rest()
	h.ports += h.allPorts() - before
}

// allPorts counts the event channels of dom0.
func (h *scaleHost) allPorts() int {
	h.tb.Helper()
	return strings.Count(h.Sh("lsevtchn 0"), "\n")
}

// connects measures how long it takes dom0 to connect to the newest frontend, and beside
// it to the oldest: whether both sides still poll, or one has gone to sleep and has to be
// woken, makes a factor of two from run to run, which has nothing to do with their number.
func (h *scaleHost) connects(c scaleCost) {
	h.tb.Helper()
	const turns = 6
	ends := []string{h.names[0], h.names[len(h.names)-1]}
	took := make([][]float64, len(ends))
	for turn := range turns {
		for i := range ends {
			i = (i + turn) % len(ends) // who is first may matter
			took[i] = append(took[i], h.connect(ends[i]))
		}
	}
	c["connect_oldest_us"], c["connect_us"] = benchreport.Median(took[0]), benchreport.Median(took[1])
	c["connect_least_us"] = slices.Min(took[1])
	after := h.rest() // all of it is given back
	for _, f := range scaleFigures() {
		if f.flat && f.name != "ports" && after[f.name] != c[f.name] {
			h.tb.Errorf("after connections to %d frontends: %s %v, before %v", len(h.names), f.name, after[f.name], c[f.name])
		}
	}
}

// connect gives the median of 50 connections to a domain, in microseconds.
func (h *scaleHost) connect(name string) float64 {
	h.tb.Helper()
	out := h.Sh("xvsock bench " + name + " --case connect --count 50 -o json")
	m, err := parseMeasured(out)
	if err != nil {
		h.tb.Fatalf("%v in %q", err, out)
	}
	return m.Percentiles["p50"]
}

// writeScale writes the costs as one list, and makes the file's directory.
func writeScale(file string, costs []scaleCost) error {
	data, err := json.MarshalIndent(costs, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}
