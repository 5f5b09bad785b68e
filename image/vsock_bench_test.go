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
	"xvsock/vsock"
)

// BenchmarkAFVsock compares the kernel's AF_VSOCK sockets through the bridge with
// AF_UNIX in the same guest: round trips of one byte, and a stream of writes of 64 KiB.
// AF_VSOCK goes to another domain, over a link, and to the guest itself, through the
// daemon alone. They take turns; the medians of one run are compared.
//
// One run is one measurement whatever b.N is.
func BenchmarkAFVsock(b *testing.B) {
	const turns = 5
	h := newSocketHost(b)
	ways := []struct{ name, command string }{
		{"unix", "afbench unix /tmp/bench"},
		{"link", fmt.Sprintf("afbench vsock %d %s", vsock.CIDOf(h.b.ID), benchPort)},
		{"self", fmt.Sprintf("afbench vsock %d %s", vsock.CIDSelf, benchPort)},
	}
	trips, streams := make(map[string][]float64), make(map[string][]float64)
	for turn := range turns {
		for _, way := range ways {
			var r struct{ Trip, Stream float64 } // microseconds, MB a second
			if err := json.Unmarshal([]byte(h.in(h.a, way.command)), &r); err != nil {
				b.Fatal(err)
			}
			b.Logf("turn %d, %s: round trip %.0f us, stream %.1f MB/s", turn, way.name, r.Trip, r.Stream)
			trips[way.name], streams[way.name] = append(trips[way.name], r.Trip), append(streams[way.name], r.Stream)
		}
	}
	b.ReportMetric(0, "ns/op") // says nothing
	for _, way := range ways {
		trip, stream := median(trips[way.name]), median(streams[way.name])
		b.Logf("%s: medians of %d: round trip %.0f us (%.2f times AF_UNIX), stream %.1f MB/s (%.2f of AF_UNIX)", way.name, turns,
			trip, trip/median(trips["unix"]), stream, stream/median(streams["unix"]))
		b.ReportMetric(trip, way.name+"-trip-us")
		b.ReportMetric(stream, way.name+"-MB/s")
	}
}

// benchPort is where afbench serves.
const benchPort = "5000"

// socketHost is a Xen host with two domUs in which sockets are measured.
type socketHost struct {
	*rig.Scenario
	tb   testing.TB
	a, b *rig.Domain
}

// newSocketHost boots the host and its domUs, in which afbench serves.
func newSocketHost(tb testing.TB) *socketHost {
	tb.Helper()
	h := &socketHost{tb: tb, Scenario: rig.Boot(tb, rig.Config{})}
	dir := tb.TempDir()
	xvsock, afbench, ramdisk := filepath.Join(dir, "xvsock"), filepath.Join(dir, "afbench"), filepath.Join(dir, "apps.cpio")
	if err := rig.BuildProgram(tb.Context(), "xvsock", xvsock); err != nil {
		tb.Fatal(err)
	}
	out, err := exec.CommandContext(tb.Context(), "gcc", "-O2", "-Wall", "-Werror", "-static", "-o", afbench, "testdata/apps/afbench.c").CombinedOutput()
	if err != nil {
		tb.Fatalf("build afbench.c: %v\n%s", err, out)
	}
	if err := rig.WriteAppsImage(tb.Context(), h.Parts, rig.AppsImage{
		Output: ramdisk, Files: map[string]string{"/usr/bin/xvsock": xvsock, "/usr/bin/afbench": afbench},
		Before: "xvsock domain 2>/tmp/daemon &\nafbench serve " + benchPort + " /tmp/bench 2>/tmp/served &",
	}); err != nil {
		tb.Fatal(err)
	}
	h.Put(xvsock, "/usr/bin/xvsock")
	h.Sh("mkdir -p /etc/xvsock/policy.d && echo '* * * allow' >/etc/xvsock/policy.d/10-all.policy")
	h.Background("xvsock backend")
	h.Sh("until xvsock status; do sleep 0.1; done 2>/dev/null >&2")
	guest := func(name string) *rig.Domain {
		d := h.Guest(rig.Guest{Name: name, Ramdisk: ramdisk, MemoryMB: 256, Cmdline: "rig.name=" + name})
		h.Sh("xvsock attach " + name)
		return d
	}
	h.a, h.b = guest("a"), guest("b")
	h.in(h.a, fmt.Sprintf("until afbench vsock %d %s && afbench vsock %d %s; do sleep 0.2; done >/dev/null 2>&1",
		vsock.CIDOf(h.b.ID), benchPort, vsock.CIDSelf, benchPort))
	return h
}

// in runs a command in a domU, which must succeed, and gives what it printed.
func (h *socketHost) in(d *rig.Domain, command string) string {
	h.tb.Helper()
	ctx, cancel := context.WithTimeout(h.tb.Context(), 2*time.Minute)
	defer cancel()
	r, err := d.Sh(ctx, command)
	if err != nil || r.Code != 0 {
		h.tb.Fatalf("%s in %s: %v, exit status %d\n%s", command, d.Name, err, r.Code, r.Stdout)
	}
	return r.Stdout
}
