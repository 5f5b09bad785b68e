package image_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/image"
	"xvsock/image/rig"
)

// xenHost is a real Xen host whose dom0 has the xvsock binary, and a service
// domain's initramfs to boot.
type xenHost struct {
	*rig.Scenario
	t       *testing.T
	binary  string
	ramdisk string // with the Xen drivers

	*running
}

// running is what runs on the host, across subtests.
type running struct {
	domains map[string]*rig.Domain
	backend *rig.Process // in dom0
}

// stepTimeout bounds each command in dom0, the conformance suites included.
const stepTimeout = 4 * time.Minute

// bootXen boots the host.
func bootXen(t *testing.T, config rig.Config) *xenHost {
	t.Helper()
	dir := t.TempDir()
	h := &xenHost{
		t: t, running: &running{domains: make(map[string]*rig.Domain)}, binary: filepath.Join(dir, "xvsock"),
		ramdisk: filepath.Join(dir, "service.cpio.gz"),
	}
	h.Scenario = rig.Boot(t, config)
	if err := rig.BuildProgram(t.Context(), "xvsock", h.binary); err != nil {
		t.Fatal(err)
	}
	h.Put(h.binary, "/usr/bin/xvsock")
	h.build(h.ramdisk, h.Parts.Guest.Modules)
	return h
}

// build writes a service domain's initramfs with the Xen drivers of a directory of
// modules, or without any if that is empty.
func (h *xenHost) build(output, modules string) {
	h.t.Helper()
	_, err := image.Build(image.Options{Output: output, Program: h.binary, Kernel: h.Parts.Guest.Image, ModulesDir: modules})
	h.must(err)
}

// service creates a PV service domain and attaches it.
func (h *xenHost) service(name string) *rig.Domain {
	h.t.Helper()
	d := h.Guest(rig.Guest{Name: name, Type: image.PV, Ramdisk: h.ramdisk, Cmdline: "xvsock.service=echo"})
	h.Sh("xvsock attach " + name)
	h.domains[name] = d
	return d
}

// until runs a dom0 command until its output satisfies ok.
func (h *xenHost) until(command string, within time.Duration, ok func(out string) bool) string {
	h.t.Helper()
	deadline := time.Now().Add(within)
	for {
		r, err := h.Run(h.t.Context(), command)
		if err != nil {
			h.t.Fatal(err)
		}
		if r.Code == 0 && ok(r.Stdout) {
			return r.Stdout
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%s: not within %v; last exit status %d\n%s%s", command, within, r.Code, r.Stdout, r.Stderr)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// service is what `xvsock services -o json` lists.
type service struct {
	Domain, UUID, Name, State string
	Port                      uint32
}

// services reads a list of services.
func services(t *testing.T, out string) (all []service) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	return all
}

// linksUp waits until n front links of the backend in dom0 are up.
func (h *xenHost) linksUp(n int, within time.Duration) {
	h.t.Helper()
	h.until("xvsock peers -o json", within, func(out string) bool {
		return strings.Count(out, `"up": true`) == n
	})
}

// TestOnXen boots real Xen once and runs everything there that is about the
// binary as a whole.
func TestOnXen(t *testing.T) {
	h := bootXen(t, rig.Config{StepTimeout: stepTimeout})
	h.scenarios([]scenario{
		{"the platform and xenstore conform, in dom0 and against a guest", (*xenHost).conformance},
		{"sockets over a real link pass nettest, both ends in dom0", (*xenHost).nettest},
		{"two service domains answer discovery and echo", (*xenHost).serviceDomains},
		{"a PVH service domain does the same, and ends in order", (*xenHost).pvhDomain},
		{"a transfer ends with the domain that is destroyed", (*xenHost).destroyMidTransfer},
		{"a backend that was killed serves again in 5 s", (*xenHost).killBackend},
		{"an orderly shutdown stays within 24 MiB", (*xenHost).shutdown},
		beside("guests that lack something",
			[]scenario{{"a guest without the modules says so and ends", (*xenHost).withoutModules}},
			[]scenario{{"a bad key is said in one line", (*xenHost).badKey}}),
		{"detached domains leave nothing", (*xenHost).detach},
		{"domains are attached as they appear", (*xenHost).watched},
		{"two domUs connect directly by policy, with the manager and without, and no longer than allowed", (*xenHost).peers},
		{"a domain created again under the same id inherits nothing", (*xenHost).sameDomID},
		{"the manager moves into a domU and, when that is destroyed, into another", (*xenHost).managerInDomU},
	})
}

// scenario is something to be seen on a host.
type scenario struct {
	name string
	run  func(*xenHost)
}

// scenarios runs one after the other on the host, until one fails.
func (h *xenHost) scenarios(all []scenario) {
	for _, s := range all {
		ok := h.t.Run(s.name, func(t *testing.T) {
			s.run(h.as(t))
		})
		if !ok {
			return // the next ones would fail for this one's reason
		}
	}
}

// as is the host as another test sees it, one that t.Run started.
func (h *xenHost) as(t *testing.T) *xenHost {
	sub := *h
	sub.t, sub.Scenario = t, h.With(t)
	return &sub
}

// beside makes one scenario of lists that run at the same time: the host has two CPUs,
// and a scenario seldom has work for both. What is in different lists must have nothing
// to do with each other, and no limit of time that is tight.
func beside(name string, lists ...[]scenario) scenario {
	return scenario{name, func(h *xenHost) {
		for i, list := range lists {
			h.t.Run(strconv.Itoa(i+1), func(t *testing.T) {
				t.Parallel()
				h.as(t).scenarios(list)
			})
		}
	}}
}

// TestOnOxenstored boots Xen with the other xenstored and runs there what depends
// on it: the suite of xenstore, and a service domain from attach to detach.
func TestOnOxenstored(t *testing.T) {
	h := bootXen(t, rig.Config{StepTimeout: stepTimeout, OCamlXenstored: true})
	const name = "conformance.test"
	h.testBinary("xvsock/sim/conformance", name)
	h.runTests("XVSOCK_CONFORM_OXENSTORED=1 " + name + " -test.v -test.run '^TestXenstore$'")
	h.startBackend()
	d := h.service("ox")
	h.t.Log(h.Await(d, "xvsock: ready in"))
	h.linksUp(1, 30*time.Second)
	h.t.Log("\n" + h.Sh("xvsock ping --bytes 1048576 ox"))
	h.Sh("xvsock detach ox")
	h.Sh("xl destroy ox")
	h.stops(h.backend)
}

// startBackend starts the backend in dom0 with further flags, and waits until it
// answers.
func (h *xenHost) startBackend(flags ...string) {
	h.t.Helper()
	if r, err := h.Run(h.t.Context(), "test -e "+policyFile); err == nil && r.Code != 0 {
		h.allow("")
	}
	h.backend = h.Background("xvsock backend --service echo " + strings.Join(flags, " "))
	h.until("xvsock status", 30*time.Second, func(string) bool { return true })
}

// serviceDomains creates two service domains, which stay.
func (h *xenHost) serviceDomains() {
	h.startBackend()
	for _, name := range []string{"web", "db"} {
		h.t.Logf("%s (pv): %s", name, h.Await(h.service(name), "xvsock: ready in"))
	}
	h.linksUp(2, 30*time.Second)
	for _, name := range []string{"web", "db"} {
		list := services(h.t, h.Sh("xvsock services -o json "+name))
		if len(list) != 2 || list[0].Name != "discovery" || list[1].Name != "echo" || list[1].Domain != name {
			h.t.Errorf("port 2 of %s answers %+v", name, list)
		}
		h.t.Log("\n" + h.Sh("xvsock ping --bytes 1048576 "+name))
	}
	h.until("xvsock services -o json", 10*time.Second, func(out string) bool { return len(services(h.t, out)) == 6 })
	h.t.Log("\n" + h.Sh("xvsock services"))
	if list := services(h.t, h.Sh("xvsock resolve -o json --domain web echo")); len(list) != 1 || list[0].Port != 7 {
		h.t.Errorf("resolve echo of web: %+v", list)
	}
}

// resources are what dom0's backend holds.
type resources struct {
	Role       string
	Goroutines int
	Watches    int
	Links      []struct {
		Name               string
		Up                 bool
		Connections, Pages int
	}
	ports int // event channels of dom0, the kernel's included
	files int // open files of the backend
}

// resources counts.
func (h *xenHost) resources() (r resources) {
	h.t.Helper()
	if err := json.Unmarshal([]byte(h.Sh("xvsock status -o json")), &r); err != nil {
		h.t.Fatal(err)
	}
	r.ports = strings.Count(h.Sh("lsevtchn 0"), "\n")
	r.files = strings.Count(h.Sh(fmt.Sprintf("ls /proc/%d/fd", h.backend.PID())), "\n")
	return r
}

// pages is how many pages the backend has granted.
func (r resources) pages() (n int) {
	for _, l := range r.Links {
		n += l.Pages
	}
	return n
}

// destroyMidTransfer destroys a domain while bytes move, and counts what the
// backend holds before and after.
func (h *xenHost) destroyMidTransfer() {
	before := h.resources()
	victim := h.service("victim")
	h.Await(victim, "xvsock: ready in")
	h.linksUp(3, 30*time.Second)
	ping := h.Background("xvsock ping --bytes 1073741824 victim")
	h.until("xvsock peers -o json", 20*time.Second, func(out string) bool {
		return strings.Contains(out, `"connections": 2`) // port 1 and the echo of the victim
	})
	h.Sh("xl destroy victim")
	gone := time.Now()
	ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
	defer cancel()
	r, err := ping.Wait(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	took := time.Since(gone)
	h.t.Logf("transfer ended %v after xl destroy returned: %s", took.Round(time.Millisecond), strings.TrimSpace(ping.Output.String()))
	if r.Code != 1 || !ping.Output.Contains("connection reset") {
		h.t.Errorf("ping ended with status %d", r.Code)
	}
	if took > 2*time.Second {
		h.t.Errorf("transfer ended %v after the domain was destroyed, want 2 s at most", took)
	}
	// The neighbours' links and everything else is as before.
	var after resources
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		after = h.resources()
		if after.Goroutines == before.Goroutines && after.Watches == before.Watches && after.ports == before.ports &&
			after.pages() == before.pages() && after.files == before.files && len(after.Links) == len(before.Links) {
			break
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("the backend holds %+v, before %+v", after, before)
		}
	}
	h.t.Logf("before and after: %d goroutines, %d watches, %d ports of dom0, %d granted pages, %d open files",
		after.Goroutines, after.Watches, after.ports, after.pages(), after.files)
	if out := h.Sh("xenstore-ls /local/domain/0/backend/xvsock"); strings.Contains(out, "victim") {
		h.t.Errorf("nodes of a destroyed domain are left:\n%s", out)
	}
}

// killBackend kills the backend while a frontend of dom0 itself moves bytes
// through it, and starts it again.
func (h *xenHost) killBackend() {
	const control = "--control /run/xvsock/self"
	self := h.Background("xvsock domain --service echo " + control)
	h.Sh("xvsock attach 0")
	h.until("xvsock "+control+" peers -o json", 20*time.Second, func(out string) bool { return strings.Contains(out, `"up": true`) })
	h.linksUp(3, 20*time.Second)
	ping := h.Background("xvsock " + control + " ping --bytes 1073741824 @backend")
	h.until("xvsock "+control+" peers -o json", 20*time.Second, func(out string) bool {
		return strings.Contains(out, `"connections": 2`)
	})
	if err := h.backend.Signal(unix.SIGKILL); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
	defer cancel()
	if r, err := ping.Wait(ctx); err != nil || r.Code != 1 || !ping.Output.Contains("connection reset") {
		h.t.Errorf("a frontend's connection ended with %v, status %d: %s", err, r.Code, ping.Output)
	}
	if _, err := h.backend.Wait(ctx); err != nil {
		h.t.Fatal(err)
	}
	h.startBackend()
	up := time.Now()
	h.linksUp(3, 5*time.Second)
	h.t.Logf("all three front links are up %v after the backend answered again", time.Since(up).Round(time.Millisecond))
	// Listeners stayed: the same daemons answer, and have registered again.
	h.until("xvsock services -o json", 10*time.Second, func(out string) bool { return len(services(h.t, out)) == 8 })
	h.Sh("xvsock ping web && xvsock ping db && xvsock " + control + " ping @backend")
	h.Sh("xvsock detach 0")
	h.stops(self)
}

// stops sends SIGTERM to a daemon, which ends in order.
func (h *xenHost) stops(p *rig.Process) {
	h.t.Helper()
	if err := p.Signal(unix.SIGTERM); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	if r, err := p.Wait(ctx); err != nil || r.Code != 0 {
		h.t.Errorf("%s ended with %v, status %d: %s", p.Command, err, r.Code, p.Output.Tail(5))
	}
}

// shutdown ends both service domains as xl shutdown does.
func (h *xenHost) shutdown() {
	for _, name := range []string{"web", "db"} {
		h.Sh("xl shutdown " + name)
		if err := h.checkMemory(name, h.Await(h.domains[name], memoryLine)); err != nil {
			h.t.Error(err)
		}
	}
	h.linksUp(0, 30*time.Second)
	h.until("xl list", 20*time.Second, func(out string) bool { return !strings.Contains(out, "web") && !strings.Contains(out, "db") })
}

// memoryLine is how PID 1 begins its line about the memory that it took, which it
// prints at its end; maxMemoryKiB is what it may have taken.
const (
	memoryLine   = "memory of PID 1"
	maxMemoryKiB = 24 << 10
)

// checkMemory reads PID 1's line about its memory.
func (h *xenHost) checkMemory(name, line string) error {
	m := regexp.MustCompile(`peak="?(\d+) kB`).FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("no figure in %q", line)
	}
	kib, err := strconv.Atoi(m[1])
	if err != nil {
		return err
	}
	h.t.Logf("%s: peak resident memory of PID 1 in a 128 MiB guest with two services: %.1f MiB", name, float64(kib)/1024)
	if kib > maxMemoryKiB {
		return fmt.Errorf("%s: PID 1 took %d KiB, more than %d", name, kib, maxMemoryKiB)
	}
	return nil
}

// pvhDomain is the life of a PVH service domain.
func (h *xenHost) pvhDomain() {
	if err := h.OutliveEmulator(h.t.Context(), "pvh", h.t.Logf, h.pvhLife); err != nil {
		h.t.Fatal(err)
	}
	h.linksUp(2, 20*time.Second)
}

// pvhLife creates the domain, asks it everything, and shuts it down.
func (h *xenHost) pvhLife(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	d, err := h.Create(ctx, rig.Guest{Name: "pvh", Type: image.PVH, Ramdisk: h.ramdisk, Cmdline: "xvsock.service=echo"})
	if err != nil {
		return err
	}
	if _, err := h.command(ctx, "xvsock attach pvh"); err != nil {
		return err
	}
	line, err := d.Expect(ctx, "xvsock: ready in")
	if err != nil {
		return err
	}
	h.t.Logf("pvh: %s", line)
	if _, err := d.Expect(ctx, "link is up"); err != nil {
		return err
	}
	list, err := h.command(ctx, "xvsock services -o json pvh")
	if err != nil {
		return err
	}
	if all := services(h.t, list); len(all) != 2 || all[1].Name != "echo" {
		return fmt.Errorf("port 2 answers %+v", all)
	}
	out, err := h.command(ctx, "xvsock ping --bytes 1048576 pvh && xl shutdown pvh")
	if err != nil {
		return err
	}
	h.t.Log("\n" + out)
	if line, err = d.Expect(ctx, memoryLine); err != nil {
		return err
	}
	return errors.Join(h.checkMemory("pvh", line), d.AwaitGone(ctx))
}

// command runs a command in dom0, which must succeed.
func (h *xenHost) command(ctx context.Context, command string) (string, error) {
	r, err := h.Run(ctx, command)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("%s: exit status %d: %s", command, r.Code, strings.TrimSpace(r.Stderr))
	}
	return r.Stdout, err
}

// withoutModules boots an image that lacks the drivers: one clear line, no hang.
func (h *xenHost) withoutModules() {
	bare := filepath.Join(h.t.TempDir(), "bare.cpio.gz")
	h.build(bare, "")
	d := h.Guest(rig.Guest{Name: "bare", Ramdisk: bare, Cmdline: "xvsock.panic=halt"})
	line := h.Await(d, "xen-gntalloc")
	h.t.Log(line)
	for _, want := range []string{"xen-evtchn", "xen-gntdev", "xvsock image build"} {
		if !strings.Contains(line, want) {
			h.t.Errorf("the line does not name %q", want)
		}
	}
	h.gone(d)
}

// badKey boots with a misspelt key and a malformed value.
func (h *xenHost) badKey() {
	d := h.Guest(rig.Guest{Name: "typo", Ramdisk: h.ramdisk, Cmdline: "xvsock.serivce=echo xvsock.log=loud"})
	h.domains["typo"] = d
	for _, key := range []string{"xvsock.serivce", "xvsock.log"} {
		h.t.Log(h.Await(d, key))
	}
	h.t.Log(h.Await(d, "xvsock: ready in"))
}

// detach takes the last domain away and looks for what is left.
func (h *xenHost) detach() {
	h.Sh("xvsock attach typo")
	h.linksUp(1, 20*time.Second)
	h.Sh("xvsock detach typo")
	// The directory that the backend watches stays, and nothing in it.
	// What the domain says of its boot is its own.
	if out := h.Sh("xenstore-ls -f | grep -v /data/xvsock"); strings.Contains(out, "/xvsock/") || strings.Contains(out, "device/xvsock") {
		h.t.Errorf("nodes are left after detach:\n%s", out)
	}
	h.Sh("xl destroy typo")
	h.stops(h.backend)
}

// gone waits until a guest has ended by itself.
func (h *xenHost) gone(d *rig.Domain) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	if err := d.AwaitGone(ctx); err != nil {
		h.t.Fatal(err)
	}
}
