package image_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xvsock/image"
	"xvsock/image/rig"
	"xvsock/vsock"
	"xvsock/xen"
)

// apps is a host with ordinary programs in dom0, where the backend runs, and in two
// domUs, a and b, where `xvsock domain` does.
type apps struct {
	*xenHost
	ramdisk string // with the programs
}

// place is a domain in which programs run: a domU, or dom0 if there is none.
type place struct {
	name   string
	domain *rig.Domain
}

// cid is the CID of the place as programs of other domains know it.
func (p place) cid() string {
	var id xen.DomID
	if p.domain != nil {
		id = p.domain.ID
	}
	return fmt.Sprint(vsock.CIDOf(id))
}

// The CIDs that say the same in every domain.
var (
	cidSelf    = fmt.Sprint(vsock.CIDSelf)
	cidBackend = fmt.Sprint(vsock.CIDBackend)
)

// The ports of the scenarios.
const (
	portEcho    = "5000" // sockets.py serve: streams, and messages at the next one
	portMessage = "5001"
	portNobody  = "5999" // nobody listens there
	portDenied  = "6666" // by policy
	portBridged = "7777" // denied by bridge-deny
)

// appsRules let a, b and dom0 do everything with each other but for one port.
const appsRules = portDenied + " * * deny\n* a b allow\n* b a allow\n* a svc allow\n* @backend * allow\n* * @backend allow\n* c b allow\n"

// bootTime is how long a domU may take until its link is up, on a machine that is busy.
const bootTime = 3 * time.Minute

// appsBefore starts the daemon of such a domU.
const appsBefore = `ulimit -n 4096
services="--service echo"
if [ "$name" = b ]; then services="$services --service ssh:22:forward:tcp:127.0.0.1:22"; fi
xvsock domain $services 2>/tmp/daemon &
echo $! >/tmp/daemon.pid
`

// TestAppsOnXen runs programs of Debian, as they are, over links between domains on
// real Xen.
func TestAppsOnXen(t *testing.T) {
	a := bootApps(t)
	begin := time.Now()
	for _, step := range []struct {
		name string
		run  func(*apps)
	}{
		{"the programs run in two domUs and in dom0", (*apps).programs},
		{"package vhost's own tests, with both kernels", (*apps).vhost},
		{"AF_VSOCK reaches every domain that policy allows", (*apps).reach},
		{"connect and accept, and who it is", (*apps).sockets},
		{"refused and denied are told at once", (*apps).refused},
		{"an unprivileged program is kept from what is the daemon's", (*apps).unprivileged},
		{"messages keep their bounds, and a Go service takes none", (*apps).messages},
		{"a kernel's socket and a Go end talk to each other", (*apps).goEnds},
		{"the examples do what they say", (*apps).examples},
		{"socat moves 64 MiB both ways at once, and half-close is kept", (*apps).streams},
		{"ssh and scp, by the command line, the unix socket and AF_VSOCK", (*apps).openSSH},
		{"500 connections at once, and 10000 one after the other, leave nothing", (*apps).load},
		{"Linux's own tests of AF_VSOCK", (*apps).linuxSuite},
		{"the end of a peer is seen, and a new one serves", (*apps).peerEnds},
		{"without vhost_vsock all else works", (*apps).withoutVhost},
	} {
		start := time.Now()
		ok := t.Run(step.name, func(t *testing.T) {
			sub, host := *a, *a.xenHost
			host.t, host.Scenario = t, a.With(t)
			sub.xenHost = &host
			step.run(&sub)
		})
		t.Logf("%6.1f s: %s", time.Since(start).Seconds(), step.name)
		if !ok {
			a.tellDaemons()
			return // the next ones would fail for this one's reason
		}
	}
	t.Logf("all but the host's boot in %v", time.Since(begin).Round(time.Second))
}

// soak reports whether the long tests are wanted.
func soak() bool { return os.Getenv("XVSOCK_SOAK") == "1" }

// bootApps boots a host with the programs in dom0, where the backend runs, and the
// domUs a and b.
func bootApps(t *testing.T) *apps {
	t.Helper()
	a := &apps{xenHost: bootXen(t, rig.Config{StepTimeout: stepTimeout, MemoryMB: 2560, Dom0Modules: []string{"vhost_vsock", "vsock_diag"}})}
	a.ramdisk = filepath.Join(t.TempDir(), "apps.cpio")
	if err := rig.WriteAppsImage(t.Context(), a.Parts, rig.AppsImage{
		Output: a.ramdisk, Files: a.files(), Before: appsBefore,
	}); err != nil {
		t.Fatal(err)
	}
	if err := a.InstallApps(t.Context(), a.ramdisk); err != nil {
		t.Fatal(err)
	}
	a.allow(appsRules)
	a.startBackend()
	for _, name := range []string{"a", "b"} {
		a.domU(name, "")
	}
	a.linksUp(2, bootTime)
	return a
}

// files are what the programs need besides Debian's.
func (a *apps) files() map[string]string {
	a.t.Helper()
	settings := filepath.Join(a.t.TempDir(), "xvsock.toml")
	if err := os.WriteFile(settings, []byte("bridge-deny = [\""+portBridged+"\"]\n"), 0o644); err != nil {
		a.t.Fatal(err)
	}
	suite, err := rig.VsockTests(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	vhost := filepath.Join(a.t.TempDir(), "vhost.test")
	if err := rig.BuildTest(a.t.Context(), "xvsock/bridge/vhost", vhost); err != nil {
		a.t.Fatal(err)
	}
	files := map[string]string{"/usr/bin/xvsock": a.binary, "/etc/xvsock.toml": settings, "/usr/bin/vhost.test": vhost}
	for _, script := range []string{"sockets.py", "stream.py", "hybrid.py"} {
		files["/usr/bin/"+script] = filepath.Join("testdata/apps", script)
	}
	a.addExamples(files)
	for _, program := range []string{"vsock_test", "vsock_diag_test"} {
		files["/usr/bin/"+program] = filepath.Join(suite, program)
	}
	return files
}

// domU creates a domU with the programs and attaches it.
func (a *apps) domU(name, cmdline string) place {
	a.t.Helper()
	d := a.Guest(rig.Guest{
		Name: name, Type: image.PV, Ramdisk: a.ramdisk, MemoryMB: 320, Cmdline: "rig.name=" + name + " " + cmdline,
	})
	a.Sh("xvsock attach " + name)
	a.domains[name] = d
	return place{name, d}
}

// The places.
func (a *apps) at(name string) place { return place{name, a.domains[name]} }
func (a *apps) dom0() place          { return place{name: "dom0"} }

// try runs a command at a place and gives what it printed and its exit status.
func (a *apps) try(p place, command string) (string, int) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), stepTimeout)
	defer cancel()
	var r rig.Result
	var err error
	if p.domain != nil {
		r, err = p.domain.Sh(ctx, command)
	} else {
		r, err = a.Run(ctx, "exec 2>&1; PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root exec chroot "+rig.AppsDir+" /bin/sh <<'END_OF_IT'\n"+command+"\nEND_OF_IT")
	}
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.TrimSpace(r.Stdout), r.Code
}

// run runs a command at a place, which must succeed, and gives what it printed.
func (a *apps) run(p place, command string) string {
	a.t.Helper()
	out, code := a.try(p, command)
	if code != 0 {
		a.t.Fatalf("%s in %s: exit status %d\n%s", command, p.name, code, out)
	}
	return out
}

// says is run for what a test shows.
func (a *apps) says(p place, command string) {
	a.t.Helper()
	a.t.Logf("%s: %s:\n%s", p.name, command, a.run(p, command))
}

// comes runs a command at a place until it succeeds.
func (a *apps) comes(p place, within time.Duration, command string) string {
	a.t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		out, code := a.try(p, command)
		if code == 0 {
			return out
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("%s in %s: not within %v; last exit status %d\n%s", command, p.name, within, code, out)
		}
	}
}

// start starts a command at a place that goes on by itself, and waits until its output
// contains ready. The output is in /tmp/NAME, the process id in /tmp/NAME.pid.
func (a *apps) start(p place, name, command, ready string) {
	a.t.Helper()
	if strings.Contains(command, "; ") {
		command = "{ " + command + "; }"
	}
	a.run(p, fmt.Sprintf("%[1]s </dev/null >/tmp/%[2]s.%[3]s 2>&1 & echo $! >/tmp/%[2]s.%[3]s.pid", command, p.name, name))
	if ready != "" {
		a.comes(p, 20*time.Second, fmt.Sprintf("grep -q '%s' /tmp/%s.%s", ready, p.name, name))
	}
}

// output is what such a command has said.
func (a *apps) output(p place, name string) string {
	a.t.Helper()
	return a.run(p, fmt.Sprintf("cat /tmp/%s.%s", p.name, name))
}

// stop ends such a command, if it was started.
func (a *apps) stop(p place, name string) {
	a.t.Helper()
	a.run(p, fmt.Sprintf("f=/tmp/%s.%s.pid; test ! -e $f || { kill $(cat $f); rm $f; }", p.name, name))
}

// tellDaemons shows what the daemons of the domUs have said, after a failure.
func (a *apps) tellDaemons() {
	for _, name := range []string{"a", "b"} {
		if d := a.domains[name]; d != nil {
			ctx, cancel := context.WithTimeout(a.t.Context(), 20*time.Second)
			r, err := d.Sh(ctx, "tail -n 40 /tmp/daemon; xvsock status; xvsock peers")
			cancel()
			a.t.Logf("%s (%v):\n%s", name, err, r.Stdout)
		}
	}
	a.t.Logf("backend:\n%s", a.backend.Output.Tail(40))
}

// programs looks whether all is there that the scenarios need.
func (a *apps) programs() {
	for _, p := range []place{a.at("a"), a.at("b"), a.dom0()} {
		a.run(p, "socat -V | grep -q 'define WITH_VSOCK 1' && ssh -V && python3 --version && test -c /dev/vhost-vsock && test -c /dev/vsock")
		a.says(p, "sockets.py local , try 4000000 1 ENODEV , diag; grep MemAvailable /proc/meminfo")
	}
}
