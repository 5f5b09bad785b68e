package image_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xvsock/image"
	"xvsock/image/rig"
)

// debian is an ordinary Debian domU with systemd, on a host whose dom0 runs the
// backend.
type debian struct {
	*xenHost
	domain *rig.Domain
}

// TestDebianPackage installs the package in a Debian domU, runs the daemon from its
// unit, and removes it again.
func TestDebianPackage(t *testing.T) {
	rig.RequireDebian(t)
	h := bootXen(t, rig.Config{StepTimeout: stepTimeout})
	begin := time.Now()
	dir := t.TempDir()
	ramdisk := filepath.Join(dir, "debian.cpio")
	if err := rig.WriteDebianImage(t.Context(), h.Parts, rig.DebianImage{Output: ramdisk, Files: map[string]string{
		"/root/old.deb": h.pack("v1.0", dir), "/root/new.deb": h.pack("v1.0-1-gabcdef0", dir),
	}}); err != nil {
		t.Fatal(err)
	}
	h.startBackend()
	h.allow("echo @backend * allow")
	created := time.Now()
	d := &debian{xenHost: h, domain: h.Guest(rig.Guest{
		Name: "debian", Type: image.PV, Ramdisk: ramdisk, Cmdline: rig.DebianCmdline, MemoryMB: 512,
	})}
	d.in("systemctl is-system-running --wait")
	t.Logf("systemd is up %v after xl create", time.Since(created).Round(time.Millisecond))
	for _, step := range []struct {
		name string
		run  func(*debian)
	}{
		{"it installs, and neither enables nor starts anything", (*debian).install},
		{"the unit starts when the services listen, and the link forms", (*debian).start},
		{"the backend's unit serves, and attach's is only refused by xenstore", (*debian).otherUnits},
		{"restart, and a crash, form the link again", (*debian).restart},
		{"an upgrade keeps the daemon and its links", (*debian).upgrade},
		{"stop ends in order", (*debian).stop},
		{"remove keeps the settings, purge leaves nothing", (*debian).remove},
	} {
		ok := t.Run(step.name, func(t *testing.T) {
			host := *h
			host.t, host.Scenario = t, h.With(t)
			step.run(&debian{xenHost: &host, domain: d.domain})
		})
		if !ok {
			t.Log(d.try("journalctl --no-pager -n 60"))
			break // the next ones would fail for this one's reason
		}
	}
	t.Logf("all but the host's boot in %v", time.Since(begin).Round(time.Second))
}

// pack makes the package of the binary.
func (h *xenHost) pack(version, dir string) string {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), "../packaging/deb", h.binary, version, dir)
	out, err := cmd.Output()
	if err != nil {
		h.t.Fatalf("make the package: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// try runs a command in the domU and gives what it printed and its exit status.
func (d *debian) try(command string) (string, int) {
	d.t.Helper()
	r, err := d.domain.Sh(d.t.Context(), command)
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.TrimSpace(r.Stdout), r.Code
}

// in runs a command in the domU, which must succeed.
func (d *debian) in(command string) string {
	d.t.Helper()
	out, code := d.try(command)
	if code != 0 {
		d.t.Fatalf("%s: exit status %d\n%s", command, code, out)
	}
	return out
}

// is checks what a command in the domU prints.
func (d *debian) is(command, want string) {
	d.t.Helper()
	if out, code := d.try(command); out != want {
		d.t.Errorf("%s prints %q with status %d, want %q", command, out, code, want)
	}
}

// dpkg runs dpkg, whose progress is not for the console.
func (d *debian) dpkg(args string) string {
	d.t.Helper()
	out := d.in("dpkg " + args + " >/root/out 2>&1 </dev/null; status=$?; cat /root/out; exit $status")
	d.t.Log("\n" + out)
	return out
}

// install installs the package.
func (d *debian) install() {
	d.dpkg("-i /root/old.deb")
	d.is("systemctl is-enabled xvsock-domain xvsock-backend xvsock-attach", "disabled\ndisabled\ndisabled")
	d.is("systemctl is-active xvsock-domain xvsock-backend xvsock-attach", "inactive\ninactive\ninactive")
	d.is("systemd-analyze verify --man=no /usr/lib/systemd/system/xvsock-*.service", "")
	d.in("getent group xvsock")
	d.in("xvsock version")
	d.in("test -s /usr/share/man/man8/xvsock.8.gz && test -s /usr/share/man/man8/xvsock-domain.8.gz")
	d.in("bash -n /usr/share/bash-completion/completions/xvsock")
	d.is("xvsock completion bash | cmp - /usr/share/bash-completion/completions/xvsock", "")
	d.is("dpkg --verify xvsock", "")
}

// start starts the daemon from its unit, with services that an administrator has
// named, and one more word on its command line.
func (d *debian) start() {
	const (
		services = `service = ["echo", "nap:7001:exec-once:` + napName + `"]`
		dropIn   = "/etc/systemd/system/xvsock-domain.service.d"
	)
	d.in("echo '" + services + "' >>/etc/xvsock.toml")
	d.in("mkdir " + dropIn + ` && printf '[Service]\nExecStart=\nExecStart=/usr/bin/xvsock domain --log debug\n' >` +
		dropIn + "/log.conf && systemctl daemon-reload")
	d.is("ls /dev/xen", "xenbus")
	// It answers at once: start returns when it serves, not when it runs.
	d.in("systemctl start xvsock-domain && xvsock status")
	d.is("cat /sys/module/xen_gntalloc/parameters/limit", "32768")
	d.is("stat -c '%a %U %G' /run/xvsock /run/xvsock/control /run/xvsock/vsock.sock", "755 root root\n660 root xvsock\n660 root xvsock")
	if out := d.Sh("xvsock __complete attach d"); !strings.Contains(out, "\ndebian\n") {
		d.t.Errorf("xvsock attach completes to %q", out)
	}
	d.Sh("xvsock attach debian")
	d.linksUp(1, 30*time.Second)
	d.ping()
	d.until("xvsock services -o json debian", 10*time.Second, func(out string) bool { return strings.Contains(out, `"nap"`) })
	out := d.in("systemctl status xvsock-domain")
	d.t.Log("\n" + out)
	if want := fmt.Sprintf("serving as domain %v, control socket /run/xvsock/control", d.domain.ID); !strings.Contains(out, want) {
		d.t.Errorf("systemctl status does not say %q", want)
	}
	if strings.Contains(d.in("journalctl --no-pager -u xvsock-domain"), "level=WARN") {
		d.t.Error("the daemon warns of something, under the unit's restrictions")
	}
}

// ping moves bytes from dom0 through the domU's echo service.
func (d *debian) ping() {
	d.t.Helper()
	d.t.Log("\n" + d.until("xvsock ping --bytes 262144 debian", 10*time.Second, func(string) bool { return true }))
}

// otherUnits starts the units of dom0 here, as far as a domU lets them.
func (d *debian) otherUnits() {
	d.in("systemctl stop xvsock-domain")
	// The daemon raises a limit that modprobe.d did not set, through its unit's
	// restrictions.
	d.in("echo 1024 >/sys/module/xen_gntalloc/parameters/limit")
	d.in("systemctl start xvsock-backend && xvsock status -o json | grep '\"role\": \"backend\"'")
	d.is("cat /sys/module/xen_gntalloc/parameters/limit", "32768")
	d.in("systemctl stop xvsock-backend")
	d.is("systemctl show -p Result --value xvsock-backend", "success")
	// Reading all domains is for the toolstack's alone. What is refused is that, and
	// not the daemon's own doings.
	d.in("systemctl start xvsock-attach; for i in 1 2 3 4 5 6 7 8 9; do " +
		"journalctl --no-pager -u xvsock-attach | grep -q 'permission denied' && break; sleep 0.5; done; systemctl stop xvsock-attach")
	log := d.in("journalctl --no-pager -o cat -u xvsock-attach | head -5")
	d.t.Log("\n" + log)
	if !strings.Contains(log, "permission denied") {
		d.t.Errorf("xvsock-attach is not refused by xenstore")
	}
	d.in("systemctl reset-failed xvsock-attach || true; systemctl start xvsock-domain")
	d.linksUp(1, 30*time.Second)
}

// The programs of the unit beside the daemon: one that a service runs, and one that is
// to outlive the daemon.
const (
	napName    = "/usr/bin/sleep 4712"
	keeperName = "@keeper 4711"
)

// programsAre checks which those are now.
func (d *debian) programsAre(want string) {
	d.t.Helper()
	d.is("for p in $(cat "+unitGroup+"/cgroup.procs); do tr '\\0' ' ' </proc/$p/cmdline | sed 's/ $//'; echo; done | "+
		"grep -v xvsock | sort", want)
}

// unitGroup is the control group of the daemon's unit.
const unitGroup = "/sys/fs/cgroup/system.slice/xvsock-domain.service"

// restart restarts the daemon by the unit, and by its death.
func (d *debian) restart() {
	d.in("setsid bash -c 'exec -a " + strings.Replace(keeperName, " ", " /usr/bin/sleep ", 1) + "' </dev/null >/dev/null 2>&1 & " +
		"echo $! >" + unitGroup + "/cgroup.procs")
	for _, how := range []string{"systemctl restart xvsock-domain", "systemctl kill --signal=KILL --kill-whom=main xvsock-domain"} {
		before := d.in("systemctl show -p MainPID --value xvsock-domain")
		begin := time.Now()
		d.in(how)
		d.until("xvsock services -o json debian", 30*time.Second, func(out string) bool { return strings.Contains(out, `"nap"`) })
		d.t.Logf("%s: answers again after %v", how, time.Since(begin).Round(time.Millisecond))
		d.ping()
		if after := d.in("systemctl show -p MainPID --value xvsock-domain"); after == before || after == "0" {
			d.t.Errorf("%s: main process %s before, %s after", how, before, after)
		}
		d.programsAre(napName + "\n" + keeperName)
	}
	d.is("systemctl show -p NRestarts --value xvsock-domain", "1")
}

// upgrade installs a newer package over the daemon that runs.
func (d *debian) upgrade() {
	before := d.in("systemctl show -p MainPID --value xvsock-domain")
	d.in("echo '# mine' >>/etc/xvsock.toml")
	out := d.dpkg("-i /root/new.deb")
	if !strings.Contains(out, "xvsock-domain runs the old version until: systemctl restart xvsock-domain") {
		d.t.Error("the upgrade does not say that the old version runs on")
	}
	d.is("dpkg-query -W -f '${Version}' xvsock", "1.0+1.gabcdef0")
	d.is("systemctl show -p MainPID --value xvsock-domain", before)
	d.is("tail -n 1 /etc/xvsock.toml", "# mine")
	d.ping()
}

// stop stops the daemon.
func (d *debian) stop() {
	d.in("systemctl stop xvsock-domain")
	d.is("systemctl show -p ActiveState,Result,ExecMainStatus --value xvsock-domain", "success\n0\ninactive")
	d.is("ls -1A /run/xvsock", "control.lock\nvsock.sock.lock")
	d.programsAre(keeperName)
	d.in("kill $(cat " + unitGroup + "/cgroup.procs)")
	d.linksUp(0, 10*time.Second)
}

// remove removes the package while the daemon runs, and purges it.
func (d *debian) remove() {
	d.in("systemctl enable --now xvsock-domain")
	d.dpkg("-r xvsock")
	d.is("systemctl is-active xvsock-domain", "inactive")
	d.is("ls /usr/bin/xvsock /usr/lib/systemd/system/xvsock-* 2>/dev/null", "")
	d.in("test -e /etc/xvsock.toml && test -e /etc/xvsock/policy.d/50-example.policy")
	d.dpkg("-P xvsock")
	d.is("find / -name '*xvsock*' -not -path '/proc/*' -not -path '/sys/*'", "")
	d.is("systemctl list-unit-files --no-legend 'xvsock*'; systemctl list-units --all --no-legend 'xvsock*'", "")
	d.is("systemctl is-system-running", "running")
}
