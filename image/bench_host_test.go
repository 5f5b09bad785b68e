package image_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"xvsock/image/rig"
	"xvsock/xen"
)

// benchHost is a Xen host with two PV domUs, a and b, of one virtual CPU each. What is
// measured is started in a, and served in b or dom0.
type benchHost struct {
	*rig.Scenario
	tb      testing.TB
	a, b    *rig.Domain
	setting benchSetting    // that holds
	servers map[string]bool // of libxenvchan that run
	refs    string          // of the pages that b shares for the ceiling
}

// benchSetting is how the links are to be.
type benchSetting struct {
	mode  string // copy or map
	ring  int    // bytes of each ring
	sleep bool   // polling is switched off
}

// newBenchHost boots the host and its domUs.
func newBenchHost(b *testing.B) *benchHost {
	b.Helper()
	h := &benchHost{tb: b, Scenario: rig.Boot(b, rig.Config{StepTimeout: 3 * time.Minute}), servers: make(map[string]bool)}
	dir := b.TempDir()
	files := h.buildPeers(dir)
	xvsock, ramdisk := filepath.Join(dir, "xvsock"), filepath.Join(dir, "bench.cpio")
	if err := rig.BuildProgram(b.Context(), "xvsock", xvsock); err != nil {
		b.Fatal(err)
	}
	files["/usr/bin/xvsock"] = xvsock
	err := rig.WriteAppsImage(b.Context(), h.Parts, rig.AppsImage{
		// The daemon has a name of its own, by which it is found, and its system calls counted.
		Output: ramdisk, Files: files, Before: "ln -s xvsock /usr/bin/" + benchDaemon + "; mount -t tracefs tracefs /sys/kernel/tracing",
	})
	if err != nil {
		b.Fatal(err)
	}
	for to, from := range files {
		h.Put(from, to)
	}
	h.Sh("mkdir -p " + filepath.Dir(policyFile))
	h.writeRule(benchSetting{mode: "copy", ring: 64 << 10})
	h.Background("xvsock backend --service echo --service bench")
	h.Sh("until xvsock status; do sleep 0.1; done 2>/dev/null >&2")
	guest := func(name string) *rig.Domain {
		d := h.Guest(rig.Guest{Name: name, Ramdisk: ramdisk, MemoryMB: 256, Cmdline: "rig.name=" + name})
		h.Sh("xvsock attach " + name)
		return d
	}
	h.a, h.b = guest("a"), guest("b")
	return h
}

// benchDaemon is what the daemon is called in the domUs.
const benchDaemon = "xvsockd"

// buildPeers builds the programs that we are compared with, and gives where each lies
// here by its path in the domains.
func (h *benchHost) buildPeers(dir string) map[string]string {
	h.tb.Helper()
	root, vchan, ceiling := h.Parts.Root, filepath.Join(dir, "vchan"), filepath.Join(dir, "ceiling")
	out, err := exec.CommandContext(h.tb.Context(), "gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", vchan,
		"testdata/bench/vchan/vchan.c", "-I", filepath.Join(root, "usr/include"), "-L", filepath.Join(root, "usr/lib/x86_64-linux-gnu"),
		"-lxenvchan", "-lxenstore", "-lxengnttab", "-lxenevtchn", "-lxentoolcore", "-lxentoollog").CombinedOutput()
	if err != nil {
		h.tb.Fatalf("build vchan.c: %v\n%s", err, out)
	}
	if err := rig.BuildProgram(h.tb.Context(), "xvsock/image/testdata/bench/ceiling", ceiling); err != nil {
		h.tb.Fatal(err)
	}
	return map[string]string{"/usr/bin/vchan": vchan, "/usr/bin/ceiling": ceiling}
}

// during has the steps that follow end tb when they fail.
func (h *benchHost) during(tb testing.TB) *benchHost {
	h.tb, h.Scenario = tb, h.Scenario.With(tb)
	return h
}

// in runs a command in a domU, which must succeed, and gives what it printed.
func (h *benchHost) in(d *rig.Domain, command string) string {
	h.tb.Helper()
	ctx, cancel := context.WithTimeout(h.tb.Context(), time.Minute)
	defer cancel()
	r, err := d.Sh(ctx, command)
	if err != nil || r.Code != 0 {
		h.tb.Fatalf("%s in %s: %v, exit status %d\n%s", command, d.Name, err, r.Code, r.Stdout)
	}
	return r.Stdout
}

// measure runs a measuring program in a, which ends before the shell there is given up.
func (h *benchHost) measure(command string) measured {
	h.tb.Helper()
	out := h.in(h.a, "timeout 50 "+command)
	m, err := parseMeasured(out)
	if err != nil {
		h.tb.Fatalf("%s: %v in its answer %q; its daemon says:\n%s", command, err, out, h.in(h.a, "tail -20 /tmp/daemon"))
	}
	return m
}

// writeRule puts the one rule in force that allows everything, and says how links are.
func (h *benchHost) writeRule(s benchSetting) {
	h.tb.Helper()
	h.Sh(fmt.Sprintf("echo '* * * allow access=%s ring=%d' >%[3]s.new && mv %[3]s.new %[3]s", s.mode, s.ring, policyFile))
}

// configure makes the link of a and b as s says: by new daemons in both, as a link stays
// what it is for as long as it lives.
func (h *benchHost) configure(s benchSetting) {
	h.tb.Helper()
	if s == h.setting {
		return
	}
	h.writeRule(s)
	for _, d := range []*rig.Domain{h.a, h.b} {
		settings := `service = ["echo", "bench"]\n`
		if s.sleep {
			settings += `poll = "off"\n`
		}
		h.in(d, "printf '"+settings+"' >/etc/xvsock.toml")
		h.restart(d)
	}
	h.setting = s
	h.in(h.a, oursTo("b", "rr", "--count 1", "until timeout 5", " >/tmp/first 2>&1; do sleep 0.1; done"))
	h.checkLink(s)
}

// restart starts the daemon of a domU, which ends the one that runs, if any.
func (h *benchHost) restart(d *rig.Domain) {
	h.tb.Helper()
	h.in(d, fmt.Sprintf("( killall %[1]s; while pidof %[1]s; do sleep 0.05; done; ( %[1]s domain >>/tmp/daemon 2>&1 & )", benchDaemon)+
		"; until timeout 5 xvsock ping @backend; do sleep 0.1; done ) >/dev/null 2>&1")
}

// checkLink makes sure that a's link to b is what was asked for: a comparison in
// another mode than it says would be worse than none.
func (h *benchHost) checkLink(s benchSetting) {
	h.tb.Helper()
	var all []struct {
		Name, Access string
		Pages        int
	}
	out := h.in(h.a, "xvsock peers -o json")
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		h.tb.Fatalf("xvsock peers: %v\n%s", err, out)
	}
	for _, l := range all {
		if l.Name != "b" {
			continue
		}
		if want := s.ring/xen.PageSize + 1; l.Pages != want || l.Access != s.mode {
			h.tb.Fatalf("the link has access %q and %d pages, want %q and %d", l.Access, l.Pages, s.mode, want)
		}
		return
	}
	h.tb.Fatalf("a has no link to b:\n%s", out)
}
