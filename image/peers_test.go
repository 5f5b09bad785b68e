package image_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/image"
	"xvsock/image/rig"
)

// The rules of the scenarios. What dom0 itself does needs rules as well.
const (
	baseRules  = "echo  @backend  *         allow\necho  *         @backend  allow\n"
	policyFile = "/etc/xvsock/policy.d/50-test.policy"
)

// allow puts rules in force at the backend in dom0.
func (h *xenHost) allow(rules string) {
	h.t.Helper()
	// Renamed into place: a set is read whole.
	h.Sh(fmt.Sprintf("mkdir -p %[1]s && cat >%[2]s.new <<'EOF'\n%[3]s%[4]s\nEOF\nmv %[2]s.new %[2]s",
		filepath.Dir(policyFile), policyFile, baseRules, rules))
}

// client creates an ordinary domain in which tests can run commands, with the
// daemon of a frontend, and attaches it.
func (h *xenHost) client(name string) *rig.Domain {
	h.t.Helper()
	ramdisk := filepath.Join(h.t.TempDir(), "shell.cpio")
	err := rig.WriteShellImage(h.Parts, rig.ShellImage{
		Output: ramdisk, Files: map[string]string{"/usr/bin/xvsock": h.binary},
		Before: "xvsock domain 2>/tmp/daemon &",
	})
	if err != nil {
		h.t.Fatal(err)
	}
	d := h.Guest(rig.Guest{Name: name, Type: image.PV, Ramdisk: ramdisk})
	h.Sh("xvsock attach " + name)
	h.domains[name] = d
	return d
}

// in runs a command in a client's domain.
func (h *xenHost) in(d *rig.Domain, command string) rig.Result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
	defer cancel()
	r, err := d.Sh(ctx, command)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// inUntil runs a command in a client's domain until it satisfies ok.
func (h *xenHost) inUntil(d *rig.Domain, command string, within time.Duration, ok func(rig.Result) bool) rig.Result {
	h.t.Helper()
	for deadline := time.Now().Add(within); ; {
		r := h.in(d, command)
		if ok(r) {
			return r
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%s in %s: not within %v; last exit status %d\n%s\n%s", command, d.Name, within, r.Code, r.Stdout,
				h.in(d, "tail -20 /tmp/daemon").Stdout)
		}
	}
}

func succeeded(r rig.Result) bool { return r.Code == 0 }

// direct is what a client's daemon says of its link to a peer.
type direct struct {
	Name, State, Generation string
	Domain                  uint16
	Connections, Pages      int
}

// direct is the link of a client to a peer; the zero value if there is none.
func (h *xenHost) direct(d *rig.Domain, peer string) direct {
	h.t.Helper()
	var all []direct
	if err := json.Unmarshal([]byte(h.in(d, "xvsock peers -o json").Stdout), &all); err != nil {
		h.t.Fatal(err)
	}
	for _, l := range all {
		if l.Name == peer {
			return l
		}
	}
	return direct{}
}

// transfer starts a transfer in a client's domain that goes on for very long. It
// says on the console how it ended.
func (h *xenHost) transfer(d *rig.Domain, peer string) {
	h.t.Helper()
	h.in(d, "( xvsock ping --bytes 1073741824 "+peer+" >/tmp/transfer 2>&1; echo transfer ended with $? >/dev/hvc0 ) &")
	h.inUntil(d, "xvsock peers -o json", 10*time.Second, func(rig.Result) bool { return h.direct(d, peer).Connections > 0 })
}

// moves checks that a transfer is under way.
func (h *xenHost) moves(d *rig.Domain) {
	h.t.Helper()
	if r := h.in(d, "cat /tmp/transfer; pidof xvsock"); len(strings.Fields(r.Stdout)) != 2 {
		h.t.Fatalf("the transfer has ended: %s", r.Stdout)
	}
}

// ends waits for the end of a transfer, which has begun to end at the given time.
func (h *xenHost) ends(d *rig.Domain, since time.Time, within time.Duration, why string) {
	h.t.Helper()
	h.Await(d, "transfer ended with")
	took := time.Since(since)
	out := strings.TrimSpace(h.in(d, "cat /tmp/transfer").Stdout)
	h.t.Logf("%s: %v later the transfer ended: %s", why, took.Round(time.Millisecond), out)
	if took > within {
		h.t.Errorf("%s: the transfer ended after %v, want %v at most", why, took, within)
	}
}

// peers is the life of direct links under the manager in dom0: three domUs, of which
// one may reach one other.
func (h *xenHost) peers() {
	h.allow("")
	h.startBackend()
	a, b, c := h.client("a"), h.service("b"), h.service("c")
	h.Await(b, "xvsock: ready in")
	h.Await(c, "xvsock: ready in")
	h.linksUp(3, 30*time.Second)
	h.never(a, b)
	h.parameters(a)
	h.allow("echo a b allow")
	h.inUntil(a, "xvsock ping b", 5*time.Second, succeeded)
	h.t.Log("\n" + h.in(a, "xvsock ping --bytes 1048576 b; xvsock peers").Stdout + h.Sh("xvsock peers; xvsock status; xvsock policy show"))
	h.never(a, c)
	h.withoutManager(a)
	start := time.Now()
	h.allow("")
	h.ends(a, start, time.Second, "the rule was taken away")
	h.never(a, b)
	h.twins(a, b, c)
}

// never checks that a client does not reach a domain, and does not learn its name.
func (h *xenHost) never(from, to *rig.Domain) {
	h.t.Helper()
	for _, spec := range []string{to.ID.String(), to.Name} {
		if r := h.in(from, "xvsock ping "+spec); r.Code == 0 {
			h.t.Errorf("%s reaches %s as %s although no rule allows it", from.Name, to.Name, spec)
		}
	}
	if l := h.direct(from, to.Name); l != (direct{}) {
		h.t.Errorf("%s knows of %s: %+v", from.Name, to.Name, l)
	}
}

// withoutManager kills the manager under a transfer between two frontends, and
// starts it again. The transfer goes on when it returns.
func (h *xenHost) withoutManager(a *rig.Domain) {
	h.transfer(a, "b")
	before := h.direct(a, "b")
	if err := h.backend.Signal(unix.SIGKILL); err != nil {
		h.t.Fatal(err)
	}
	for range 5 {
		if r := h.in(a, "xvsock ping --bytes 65536 b"); r.Code != 0 {
			h.t.Fatalf("without a manager a new connection over the link fails: %s", r.Stdout)
		}
	}
	h.moves(a)
	h.startBackend()
	up := time.Now()
	h.linksUp(3, 5*time.Second)
	h.t.Logf("the manager was killed and started again: all front links up %v after it answered", time.Since(up).Round(time.Millisecond))
	h.until("xvsock status -o json", 10*time.Second, func(out string) bool { return strings.Contains(out, `"generation": "`+before.Generation) })
	if after := h.direct(a, "b"); after.Generation != before.Generation || after.State != "up" {
		h.t.Errorf("the link to b was %+v before the manager died, now it is %+v", before, after)
	}
	h.until("xvsock services -o json", 10*time.Second, func(out string) bool { return len(services(h.t, out)) >= 6 })
	h.moves(a)
}

// twins gives c the name of b: then a rule about that name is about neither.
func (h *xenHost) twins(a, b, c *rig.Domain) {
	h.allow("echo a b allow")
	h.inUntil(a, "xvsock ping b", 5*time.Second, succeeded)
	h.transfer(a, "b")
	start := time.Now()
	h.Sh(fmt.Sprintf("xenstore-write /local/domain/%[1]v/name b && xvsock attach %[1]v", c.ID))
	h.ends(a, start, 2*time.Second, "another domain took the name of b")
	h.never(a, b)
	h.never(a, c)
	h.Sh(fmt.Sprintf("xenstore-write /local/domain/%[1]v/name c && xvsock attach %[1]v", c.ID))
	h.inUntil(a, "xvsock ping b", 5*time.Second, succeeded)
}

// creator builds the program that creates a domain under a given id.
func (h *xenHost) creator() {
	h.t.Helper()
	root := h.Parts.Root
	bin := filepath.Join(h.t.TempDir(), "create")
	out, err := exec.CommandContext(h.t.Context(), "gcc", "-O1", "-Wall", "-Werror", "-o", bin, "testdata/create.c",
		"-I", filepath.Join(root, "usr/include"), "-L", filepath.Join(root, "usr/lib/x86_64-linux-gnu"),
		"-lxenlight", "-lxentoollog", "-Wl,--unresolved-symbols=ignore-in-shared-libs").CombinedOutput()
	if err != nil {
		h.t.Fatalf("build testdata/create.c: %v\n%s", err, out)
	}
	h.Put(bin, "/usr/bin/create")
}

// sameDomID destroys b in the middle of a transfer and creates another domain of the
// same name under the same id: it inherits neither the link nor what was allowed to
// the uuid, and is served as what it is.
func (h *xenHost) sameDomID() {
	h.creator()
	a, b := h.domains["a"], h.domains["b"]
	uuid := strings.TrimSpace(h.Sh(fmt.Sprintf("basename $(xenstore-read /local/domain/%v/vm)", b.ID)))
	h.allow("echo a uuid:" + uuid + " allow")
	h.inUntil(a, "xvsock ping b", 5*time.Second, succeeded)
	h.transfer(a, "b")
	start := time.Now()
	h.Sh("xl destroy b")
	h.ends(a, start, 2*time.Second, "b was destroyed")
	again := h.Guest(rig.Guest{
		Name: "b", Ramdisk: h.ramdisk, Cmdline: "xvsock.service=echo",
		// libxl does not use an id again soon after its domain has gone.
		Creator: fmt.Sprintf("xl -N create $1 | (rm -f /run/xen/domid-history; exec create %v)", b.ID),
	})
	if again.ID != b.ID {
		h.t.Fatalf("b was domain %v and is domain %v now", b.ID, again.ID)
	}
	h.domains["b"] = again
	h.Sh("xvsock attach b")
	h.Await(again, "xvsock: ready in")
	h.linksUp(3, 30*time.Second)
	h.never(a, again)
	h.allow("echo a b allow")
	h.inUntil(a, "xvsock ping b", 5*time.Second, succeeded)
}

// managerInDomU moves everybody to a manager in a domain of its own, which has its
// rules from xenstore; destroys that one and moves everybody to another. The link
// between two frontends does not notice.
func (h *xenHost) managerInDomU() {
	a := h.domains["a"]
	first, second := h.manager("manager1"), h.manager("manager2") // which boot at the same time
	h.transfer(a, "b")
	before := h.direct(a, "b")
	h.moveTo(first)
	h.stops(h.backend)
	h.sameLink(a, before)
	h.Sh("xl destroy manager1")
	h.inUntil(a, "xvsock ping --bytes 65536 b", 5*time.Second, succeeded)
	h.moves(a)
	h.moveTo(second)
	h.sameLink(a, before)
	// The new manager is no less a manager: what it forbids ends.
	start := time.Now()
	h.push("manager2", "echo b a allow")
	h.ends(a, start, time.Second, "a rule was pushed that allows it no more")
	h.push("manager2", "echo a b allow")
	h.inUntil(a, "xvsock ping b", 5*time.Second, succeeded)
	h.Sh("xvsock detach a && xvsock detach b && xvsock detach c")
	for _, name := range []string{"a", "b", "c", "manager2"} {
		h.Sh("xl destroy " + name)
	}
}

// watched has domains attached by who watches for them, as they appear, and again
// after they were destroyed and created anew.
func (h *xenHost) watched() {
	h.startBackend()
	watch := h.Background("xvsock attach --watch 'auto-*' --tag watched")
	for range 2 {
		h.appears()
	}
	h.stops(watch)
	h.stops(h.backend)
	h.startBackend("--auto-attach 'auto-*'")
	h.appears()
	h.stops(h.backend)
}

// appears creates a domain that is attached by itself, and destroys it.
func (h *xenHost) appears() {
	h.t.Helper()
	d := h.Guest(rig.Guest{Name: "auto-1", Ramdisk: h.ramdisk, Cmdline: "xvsock.service=echo"})
	h.until("xvsock peers -o json", 30*time.Second, func(out string) bool {
		return strings.Contains(out, `"name": "auto-1"`) && strings.Count(out, `"up": true`) == 1
	})
	h.Sh("xvsock ping auto-1 && xl destroy auto-1")
	h.until("xenstore-ls -f /local/domain/0/backend", 10*time.Second, func(out string) bool {
		return !strings.Contains(out, fmt.Sprintf("/xvsock/%v/", d.ID))
	})
}

// parameters looks at what a rule says besides allow, the rings of the link that is
// made by it and how many connections there may be, and at a set with an error.
func (h *xenHost) parameters(a *rig.Domain) {
	h.allow("echo a b allow conns=1 ring=256K")
	h.inUntil(a, "xvsock ping b", 5*time.Second, succeeded)
	if l := h.direct(a, "b"); l.Pages != 65 {
		h.t.Errorf("with rings of 256 KiB a has granted %d pages, want 64 and the header", l.Pages)
	}
	h.allow("echo a b permit") // refused whole: the last good set stays
	h.until("xvsock status", 5*time.Second, func(out string) bool { return strings.Contains(out, "50-test.policy:3") })
	h.transfer(a, "b")
	r := h.in(a, "xvsock ping b")
	h.t.Logf("a second connection where one may be: %s", strings.TrimSpace(r.Stdout))
	if r.Code != 1 || !strings.Contains(r.Stdout, "out of budget") {
		h.t.Errorf("a second connection ended with %d", r.Code)
	}
	h.Sh("xvsock policy check a b echo")
	if r, err := h.Run(h.t.Context(), "xvsock policy check a c echo"); err != nil || r.Code != 126 {
		h.t.Errorf("policy check of what is denied: %v, exit status %d", err, r.Code)
	}
	start := time.Now()
	h.allow("")
	h.ends(a, start, time.Second, "the rule with limits was taken away")
}

// push gives rules to a manager in a domain of its own.
func (h *xenHost) push(backend, rules string) {
	h.t.Helper()
	h.Sh(fmt.Sprintf("mkdir -p /tmp/push && cat >/tmp/push/10-test.policy <<'EOF'\n%s\nEOF\nxvsock policy push --backend %s /tmp/push", rules, backend))
}

// manager creates a manager's domain, which no frontend has yet.
func (h *xenHost) manager(name string) *rig.Domain {
	h.t.Helper()
	d := h.Guest(rig.Guest{Name: name, Ramdisk: h.ramdisk, Cmdline: "xvsock.mode=backend xvsock.service=echo"})
	h.push(name, "echo a b allow\necho * @backend allow")
	return d
}

// moveTo moves all frontends to a manager's domain.
func (h *xenHost) moveTo(d *rig.Domain) {
	h.t.Helper()
	h.Await(d, "xvsock: ready in")
	h.t.Log("\n" + h.Sh("xvsock attach --backend "+d.Name))
	moved := time.Now()
	a := h.domains["a"]
	h.inUntil(a, "xvsock ping --bytes 64 @backend", 5*time.Second, succeeded)
	h.t.Logf("a's front link to %s is up %v after the move", d.Name, time.Since(moved).Round(time.Millisecond))
}

// sameLink checks that a's link to b, and the transfer on it, are those of before.
func (h *xenHost) sameLink(a *rig.Domain, before direct) {
	h.t.Helper()
	h.moves(a)
	if after := h.direct(a, "b"); after.Generation != before.Generation || after.State != "up" {
		h.t.Errorf("the link to b was %+v before the move, now it is %+v", before, after)
	}
}
