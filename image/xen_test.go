package image_test

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

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
	bare    string // without any module
}

// bootXen boots the host.
func bootXen(t *testing.T) *xenHost {
	t.Helper()
	dir := t.TempDir()
	h := &xenHost{
		t: t, binary: filepath.Join(dir, "xvsock"),
		ramdisk: filepath.Join(dir, "service.cpio.gz"), bare: filepath.Join(dir, "bare.cpio.gz"),
	}
	if err := rig.BuildProgram(t.Context(), "xvsock", h.binary); err != nil {
		t.Fatal(err)
	}
	h.Scenario = rig.Boot(t, rig.Config{Files: map[string]string{"/usr/bin/xvsock": h.binary}})
	guest := h.Parts.Guest
	for output, modules := range map[string]string{h.ramdisk: guest.Modules, h.bare: ""} {
		if _, err := image.Build(image.Options{
			Output: output, Program: h.binary, Kernel: guest.Image, ModulesDir: modules,
		}); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// service creates a service domain and attaches it.
func (h *xenHost) service(name string, kind image.DomainType, cmdline string) *rig.Domain {
	h.t.Helper()
	d := h.Guest(rig.Guest{Name: name, Type: kind, Ramdisk: h.ramdisk, Cmdline: "xvsock.service=echo " + cmdline})
	h.Sh("xvsock attach " + name)
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

func TestServiceDomainsOnXen(t *testing.T) {
	h := bootXen(t)
	h.Background("xvsock backend")
	h.until("xvsock status", 20*time.Second, func(string) bool { return true })
	guests := map[string]*rig.Domain{
		"web": h.service("web", image.PV, ""),
		"db":  h.service("db", image.PVH, ""),
	}
	for name, d := range guests {
		t.Logf("%s: %s", name, h.Await(d, "xvsock: ready in"))
	}
	h.linksUp(2, 30*time.Second)

	t.Run("each domain answers on its port 2", func(t *testing.T) {
		for name := range guests {
			list := services(t, h.Sh("xvsock services -o json "+name))
			if len(list) != 2 || list[0].Name != "discovery" || list[1].Name != "echo" || list[1].Domain != name {
				t.Errorf("port 2 of %s answers %+v", name, list)
			}
		}
	})
	t.Run("the backend's directory lists the whole host", func(t *testing.T) {
		h.until("xvsock services -o json", 10*time.Second, func(out string) bool { return len(services(t, out)) == 5 })
		t.Log("\n" + h.Sh("xvsock services"))
		if list := services(t, h.Sh("xvsock resolve -o json --domain web echo")); len(list) != 1 || list[0].Port != 7 {
			t.Errorf("resolve echo of web: %+v", list)
		}
	})
	t.Run("1 MiB comes back from echo unchanged", func(t *testing.T) {
		for name := range guests {
			t.Log("\n" + h.Sh("xvsock ping --bytes 1048576 "+name))
		}
	})
	t.Run("an orderly shutdown prints the peak memory", func(t *testing.T) {
		for name, d := range guests {
			h.Sh("xl shutdown " + name)
			line := h.Await(d, "memory of PID 1")
			m := regexp.MustCompile(`peak="?(\d+) kB`).FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("no figure in %q", line)
			}
			kib, _ := strconv.Atoi(m[1])
			t.Logf("%s: peak resident memory of PID 1 in a 128 MiB guest with two services: %.1f MiB", name, float64(kib)/1024)
			if kib > 24<<10 {
				t.Errorf("%s: PID 1 took %d KiB, more than 24 MiB", name, kib)
			}
		}
		h.linksUp(0, 30*time.Second)
	})
}
