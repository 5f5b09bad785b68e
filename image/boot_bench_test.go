package image_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"xvsock/image"
	"xvsock/image/rig"
)

// BenchmarkBoot compares how long a service domain takes, from xl create to an answer
// of its discovery service that has been received in dom0, with a guest that loads the
// same modules from an initramfs of the same size and prints a line. Both are PV, boot
// the same kernel, are built by the same toolchain, and are attached by an `xvsock attach
// --watch` that runs already. They take turns; the medians of one run are compared.
//
// One run is one measurement whatever b.N is. The ratio may be maxBootRatio at most.
func BenchmarkBoot(b *testing.B) {
	const turns = 5
	h := newBootHost(b)
	h.boot("warm-up", h.service, "discovery") // the files are sent at the first boot
	var service, line []float64
	for turn := range turns {
		l := h.boot(fmt.Sprint("line-", turn), h.line, "line 'printinit: ready'")
		s := h.boot(fmt.Sprint("service-", turn), h.service, "discovery")
		b.Logf("turn %d: the line after %.2f s, the answer after %.2f s (link up %.2f s, asked %d times; xl create %.2f and %.2f s): %s",
			turn, l.Answered, s.Answered, s.Linked, s.Tries, l.Created, s.Created, h.steps)
		service, line = append(service, s.Answered), append(line, l.Answered)
	}
	ratio := median(service) / median(line)
	b.Logf("medians of %d: a printed line %.2f s, a discovery answer %.2f s, ratio %.2f (at most %.2f)",
		turns, median(line), median(service), ratio, maxBootRatio)
	b.ReportMetric(0, "ns/op") // says nothing
	b.ReportMetric(median(line), "line-s")
	b.ReportMetric(median(service), "answer-s")
	b.ReportMetric(ratio, "ratio")
	if ratio > maxBootRatio {
		b.Errorf("a service domain answers after %.2f times the time of a guest that prints a line", ratio)
	}
}

// maxBootRatio is how much longer a service domain may take than a printed line.
const maxBootRatio = 1.25

func median(all []float64) float64 { return slices.Sorted(slices.Values(all))[len(all)/2] }

// bootHost is a Xen host on which boots are measured, with both initramfs.
type bootHost struct {
	*rig.Scenario
	b             *testing.B
	service, line string
	steps         string // what PID 1 said of the last service domain's boot
}

// newBootHost boots the host and makes all that takes time besides the boots.
func newBootHost(b *testing.B) *bootHost {
	b.Helper()
	h := &bootHost{b: b, Scenario: rig.Boot(b, rig.Config{})}
	dir := b.TempDir()
	program := func(pkg string) string {
		file := filepath.Join(dir, filepath.Base(pkg))
		if err := rig.BuildProgram(b.Context(), pkg, file); err != nil {
			b.Fatal(err)
		}
		return file
	}
	xvsock := program("xvsock")
	h.Put(xvsock, "/usr/bin/xvsock")
	h.Put(program("xvsock/image/testdata/boottime"), "/usr/bin/boottime")
	h.images(dir, xvsock, program("xvsock/image/testdata/printinit"))
	h.Background("xvsock backend")
	h.Sh("until xvsock status; do sleep 0.1; done 2>/dev/null >&2")
	h.Background("xvsock attach --watch '*'")
	return h
}

// images builds the service domain's initramfs, and the other one from the same
// modules, padded to the same size by bytes that cannot be compressed.
func (h *bootHost) images(dir, xvsock, printinit string) {
	h.b.Helper()
	build := func(output, program string, files map[string]string) image.Report {
		r, err := image.Build(image.Options{
			Output: filepath.Join(dir, output), Program: program,
			Kernel: h.Parts.Guest.Image, ModulesDir: h.Parts.Guest.Modules, Files: files,
		})
		if err != nil {
			h.b.Fatal(err)
		}
		return r
	}
	service := build("service.cpio.gz", xvsock, nil)
	list, pad := filepath.Join(dir, "modules"), filepath.Join(dir, "pad")
	var paths string
	for _, module := range service.Modules {
		paths += "/lib/modules/" + service.Version + "/" + module + "\n"
	}
	write := func(file string, data []byte) {
		if err := os.WriteFile(file, data, 0o644); err != nil {
			h.b.Fatal(err)
		}
	}
	write(list, []byte(paths))
	bare := build("line.cpio.gz", printinit, map[string]string{"modules": list})
	padding := make([]byte, service.Size-bare.Size)
	_, _ = rand.Read(padding) // it never fails
	write(pad, padding)
	padded := build("line.cpio.gz", printinit, map[string]string{"modules": list, "pad": pad})
	h.b.Logf("initramfs: of the service domain %d KiB (unpacked %d), of the other %d KiB (unpacked %d)",
		service.Size>>10, service.Unpacked>>10, padded.Size>>10, padded.Unpacked>>10)
	h.service, h.line = service.Output, padded.Output
}

// bootTimes is what testdata/boottime prints, in seconds.
type bootTimes struct {
	Created, Linked, Answered float64
	Tries                     int
}

// boot measures one boot, until what testdata/boottime calls so, and takes the guest
// away again.
func (h *bootHost) boot(name, ramdisk, until string) (t bootTimes) {
	h.b.Helper()
	d := h.Guest(rig.Guest{
		Name: name, Ramdisk: ramdisk, Creator: "boottime $1 " + name + " " + until + " >/run/boottime",
	})
	if err := json.Unmarshal([]byte(h.Sh("cat /run/boottime")), &t); err != nil {
		h.b.Fatal(err)
	}
	h.steps = ""
	if ramdisk == h.service {
		_, h.steps, _ = strings.Cut(h.Await(d, "xvsock: ready in"), "xvsock: ")
	}
	h.Sh("xl destroy " + name + "; until test -z \"$(xenstore-list /local/domain/0/backend/xvsock)\"; do sleep 0.1; done 2>/dev/null")
	return t
}
