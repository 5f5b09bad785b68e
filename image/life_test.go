package image_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"xvsock/image"
	"xvsock/image/rig"
	"xvsock/vsock"
	"xvsock/xen"
)

// TestLifeOnXen boots real Xen once and looks there at how domains begin, end and come
// back, with every domain attached by who watches for them.
func TestLifeOnXen(t *testing.T) {
	h := bootXen(t, rig.Config{StepTimeout: stepTimeout})
	h.scenarios([]scenario{
		{"every command of the page for service authors works", (*xenHost).serviceAuthor},
		{"a backend serves, and domains are attached as they appear", func(h *xenHost) {
			h.startBackend()
			h.Background("xvsock attach --watch '*'")
		}},
		beside("lives beside each other",
			[]scenario{
				{"ten thousand orphans are reaped", (*xenHost).orphans},
				{"each wrong setting has a line of its own", (*xenHost).wrongSettings},
				{"a command line that is as long as a PV guest's can be may have been cut", (*xenHost).cutCommandLine},
				{"strict settings fail the boot", (*xenHost).strictSettings},
			},
			[]scenario{
				{"a guest of 96 MiB boots and serves", (*xenHost).smallGuest},
				{"a guest that xl reboots serves again under another id", (*xenHost).reboots},
				{"programs and sockets of a domain are services, and halves of connections close", (*xenHost).programs},
				{"the clock is right, after a restore too", (*xenHost).clock},
				{"a PV domU maps its peers' pages where a rule says so", (*xenHost).mapped},
			}),
		{"a PV service domain is saved and restored", (*xenHost).suspendPV},
		{"a PVH service domain is saved and restored", (*xenHost).suspendPVH},
		{"an ordinary domain is saved and restored, and its daemon started again", (*xenHost).suspendClient},
	})
}

// servedTime is how long a domain may take from xl create until it serves: long, for a
// machine that has other things to do, and a host on which other domains begin.
const servedTime = 2 * time.Minute

// serving waits until a domain's echo service is in the backend's directory, under the
// id that the domain has now, and answers. It says how long that took.
func (h *xenHost) serving(ctx context.Context, d *rig.Domain, within time.Duration) (time.Duration, error) {
	begin := time.Now()
	limit, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("%s (domain %v) does not serve after %v", d.Name, d.ID, within))
	defer cancel()
	for {
		list, err := h.command(limit, "xvsock services -o json")
		if limit.Err() != nil {
			return 0, context.Cause(limit)
		}
		if err == nil && registered(list, d.ID) {
			break
		}
	}
	took := time.Since(begin)
	_, err := h.command(ctx, fmt.Sprintf("xvsock ping %v", d.ID))
	return took, err
}

// registered reports whether a list of services has the echo of a domain.
func registered(list string, id xen.DomID) bool {
	var all []struct {
		CID         uint32
		Name, State string
	}
	if json.Unmarshal([]byte(list), &all) != nil {
		return false
	}
	for _, s := range all {
		if s.CID == vsock.CIDOf(id) && s.Name == "echo" {
			return true
		}
	}
	return false
}

// must ends the test if there is an error.
func (h *xenHost) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// served waits until a domain serves.
func (h *xenHost) served(d *rig.Domain) {
	h.t.Helper()
	took, err := h.serving(h.t.Context(), d, servedTime)
	h.must(err)
	h.t.Logf("%s (domain %v) serves after %v", d.Name, d.ID, took.Round(time.Millisecond))
}

// said waits until a line of a guest's console has all the words.
func (h *xenHost) said(d *rig.Domain, words ...string) string {
	h.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		for line := range strings.Lines(d.Console().String()) {
			if containsAll(line, words) {
				return strings.TrimSpace(line)
			}
		}
		if time.Now().After(deadline) {
			h.t.Errorf("console of %s: no line with %q", d.Name, words)
			return ""
		}
	}
}

func containsAll(line string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(line, word) {
			return false
		}
	}
	return true
}

// smallGuest is the least memory that Debian's kernel loads in.
func (h *xenHost) smallGuest() {
	d := h.Guest(rig.Guest{Name: "small", Ramdisk: h.ramdisk, MemoryMB: 96, Cmdline: "xvsock.service=echo"})
	h.t.Log(h.Await(d, "xvsock: ready in"))
	h.served(d)
	h.t.Log("\n" + h.Sh("xvsock ping --bytes 1048576 small; xvsock services small"))
	h.Sh("xl shutdown small")
	h.t.Logf("with memory=96: %s", h.Await(d, memoryLine))
	h.gone(d)
}

// reboots has xl start a guest again that was told to reboot.
func (h *xenHost) reboots() {
	d := h.Guest(rig.Guest{Name: "phoenix", Ramdisk: h.ramdisk, Cmdline: "xvsock.service=echo", OnReboot: "restart"})
	h.served(d)
	h.Sh("xl reboot phoenix")
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	again, err := h.AwaitReboot(ctx, d)
	h.must(err)
	h.t.Logf("domain %v came back as domain %v", d.ID, again.ID)
	h.served(again)
	h.Sh("xl destroy phoenix")
	h.gone(again)
}

// payloads is an initramfs with testdata/payload.c as /payload, and further files.
func (h *xenHost) payloads(files map[string]string) (ramdisk string) {
	h.t.Helper()
	dir := h.t.TempDir()
	payload := filepath.Join(dir, "payload")
	out, err := exec.CommandContext(h.t.Context(), "gcc", "-O1", "-Wall", "-Werror", "-static", "-o", payload, "testdata/payload.c").CombinedOutput()
	if err != nil {
		h.t.Fatalf("build testdata/payload.c: %v\n%s", err, out)
	}
	from := map[string]string{"payload": payload}
	for name, content := range files {
		from[name] = filepath.Join(dir, filepath.Base(name))
		h.must(os.WriteFile(from[name], []byte(content), 0o644))
	}
	ramdisk = filepath.Join(dir, "payloads.cpio.gz")
	_, err = image.Build(image.Options{
		Output: ramdisk, Program: h.binary, Kernel: h.Parts.Guest.Image, ModulesDir: h.Parts.Guest.Modules, Files: from,
	})
	h.must(err)
	return ramdisk
}

// programs has dom0 move bytes through every kind of payload: each sends back what it is
// sent, and ends its sending when it has been told of the end.
func (h *xenHost) programs() {
	config := strings.Join([]string{
		`service = ["echo", "cat:1001:exec:/payload cat", "once:1002:exec-once:/payload serve 3",`,
		`"unix:1003:forward:unix:/tmp/echo", "tcp:1004:forward:tcp:127.0.0.1:9000",`,
		`"behind-unix:1005:exec-once:/payload serve /tmp/echo", "behind-tcp:1006:exec-once:/payload serve 9000"]`,
	}, "\n")
	d := h.Guest(rig.Guest{Name: "programs", Ramdisk: h.payloads(map[string]string{"etc/xvsock.toml": config + "\n"})})
	h.allow("echo,1001-1004 @backend programs allow\n")
	h.served(d)
	for port := 1001; port <= 1004; port++ {
		h.until(fmt.Sprintf("xvsock ping --port %d --bytes 1048576 programs", port), 30*time.Second, func(string) bool { return true })
	}
	h.t.Log("\n" + h.Sh("xvsock health programs"))
	log := h.Sh("xvsock log programs")
	for _, want := range []string{"serving CID 65536 port", "3 serves @xvsock/65536/", "/tmp/echo serves @xvsock/65536/"} {
		if !strings.Contains(log, want) {
			h.t.Errorf("the log of the domain has no %q:\n%s", want, log)
		}
	}
	h.Sh("xvsock restart programs once")
	h.until("xvsock ping --port 1002 programs", 30*time.Second, func(string) bool { return true })
	h.allow("")
	h.Sh("xl shutdown programs")
	h.gone(d)
}

// orphans has a payload make 10^4 processes that PID 1 must reap.
func (h *xenHost) orphans() {
	d := h.Guest(rig.Guest{
		Name: "storm", Ramdisk: h.payloads(nil), Cmdline: `xvsock.service=echo "xvsock.service=storm:1000:exec-once:/payload storm 10000"`,
	})
	h.served(d)
	line := h.Await(d, "storm over:")
	h.t.Log(line)
	if !strings.Contains(line, "10000 orphans, 0 zombies") {
		h.t.Errorf("after the storm: %s", line)
	}
	h.served(d)
	h.Sh("xl destroy storm")
}

// clock compares a guest's time with dom0's, before and after a restore.
func (h *xenHost) clock() {
	d := h.Guest(rig.Guest{
		Name: "clock", Ramdisk: h.payloads(nil), Cmdline: `xvsock.service=echo "xvsock.service=clock:1000:exec-once:/payload clock"`,
	})
	h.sameTime(d)
	const file = "/tmp/clock.save"
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	h.must(d.Save(ctx, file))
	time.Sleep(5 * time.Second) // in which the guest's time does not move
	d, err := h.Restore(ctx, d, file, "")
	h.must(err)
	h.sameTime(d)
	h.Sh("rm " + file + "; xl destroy clock")
}

// sameTime checks that the guest's clock is within 2 s of dom0's.
func (h *xenHost) sameTime(d *rig.Domain) {
	h.t.Helper()
	h.Await(d, "the clock says") // what was said before may be old
	line := h.Await(d, "the clock says")
	dom0, err := strconv.ParseFloat(strings.TrimSpace(h.Sh("date +%s")), 64)
	h.must(err)
	dom0 += 0.5 // on average
	m := regexp.MustCompile(`the clock says (\d+\.\d+)`).FindStringSubmatch(line)
	if m == nil {
		h.t.Fatalf("no time in %q", line)
	}
	guest, err := strconv.ParseFloat(m[1], 64)
	h.must(err)
	h.t.Logf("%s's clock is within %.1f s of dom0's", d.Name, math.Abs(dom0-guest))
	if math.Abs(dom0-guest) > 2 {
		h.t.Errorf("%s's clock says %.3f when dom0's says %.0f", d.Name, guest, dom0)
	}
}
