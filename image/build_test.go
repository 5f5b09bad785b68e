package image_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/u-root/u-root/pkg/cpio"
	"xvsock/image"
)

// inputs writes all that Build needs and gives the options for it.
func inputs(t *testing.T, change map[string][]byte) image.Options {
	t.Helper()
	files := modulesTree(t)
	files["vmlinuz"] = bzImage(release)
	files["program"] = program()
	maps.Copy(files, change)
	dir := tree(t, files)
	return image.Options{
		Output:     filepath.Join(dir, "domain.cpio.gz"),
		Program:    filepath.Join(dir, "program"),
		Kernel:     filepath.Join(dir, "vmlinuz"),
		ModulesDir: filepath.Join(dir, "lib/modules", release),
	}
}

// built builds an image and gives its files.
func built(t *testing.T, o image.Options) (image.Report, map[string]cpio.Record) {
	t.Helper()
	report, err := image.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(o.Output)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if report.Size != int64(len(data)) || report.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("the report %+v does not fit the file of %d bytes, %x", report, len(data), sum)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if !z.ModTime.IsZero() || z.Name != "" {
		t.Errorf("the gzip header has a time or a name: %+v", z.Header)
	}
	archive, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if report.Unpacked != int64(len(archive)) {
		t.Errorf("Unpacked = %d, want %d", report.Unpacked, len(archive))
	}
	return report, records(t, archive)
}

func TestBuild(t *testing.T) {
	o := inputs(t, map[string][]byte{"config": []byte("x = 1\n")})
	o.Files = map[string]string{"etc/xvsock.toml": filepath.Join(filepath.Dir(o.Output), "config")}
	o.Modules = []string{"xen-evtchn", "vhost_vsock", "xenfs"}
	report, got := built(t, o)

	in := "lib/modules/" + release
	want := []string{
		"dev", "dev/console", "etc", "etc/xvsock.toml", "init", "lib", "lib/modules", in,
		in + "/kernel", in + "/kernel/drivers", in + "/kernel/drivers/xen",
		in + "/kernel/drivers/xen/xen-evtchn.ko", in + "/kernel/drivers/xen/xen-gntalloc.ko",
		in + "/kernel/drivers/xen/xen-gntdev.ko", in + "/kernel/net", in + "/kernel/net/virtio_common.ko", in + "/kernel/net/vsock.ko",
		in + "/kernel/vhost", in + "/kernel/vhost/vhost.ko", in + "/kernel/vhost/vhost_iotlb.ko",
		in + "/kernel/vhost/vhost_vsock.ko", in + "/modules.builtin", in + "/modules.dep",
		"proc", "run", "sbin", "sbin/poweroff", "sbin/reboot", "sbin/xvsock", "sys", "tmp",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got["init"].Mode != cpio.S_IFREG|0o755 || content(t, got["init"]) != string(program()) {
		t.Error("init is not the program")
	}
	for _, name := range []string{"sbin/poweroff", "sbin/reboot", "sbin/xvsock"} {
		if got[name].Mode&cpio.S_IFMT != cpio.S_IFLNK || content(t, got[name]) != "/init" {
			t.Errorf("%s is no link to /init", name)
		}
	}
	if mode := got["etc/xvsock.toml"].Mode; mode != cpio.S_IFREG|0o644 {
		t.Errorf("etc/xvsock.toml has mode %o", mode)
	}
	if text := content(t, got[in+"/kernel/drivers/xen/xen-gntalloc.ko"]); text != string(module()) {
		t.Error("xen-gntalloc.ko is not decompressed")
	}
	wantDep := `kernel/drivers/xen/xen-evtchn.ko:
kernel/drivers/xen/xen-gntalloc.ko:
kernel/drivers/xen/xen-gntdev.ko:
kernel/net/virtio_common.ko: kernel/net/vsock.ko
kernel/net/vsock.ko:
kernel/vhost/vhost.ko: kernel/vhost/vhost_iotlb.ko
kernel/vhost/vhost_iotlb.ko:
kernel/vhost/vhost_vsock.ko: kernel/net/virtio_common.ko kernel/net/vsock.ko kernel/vhost/vhost.ko kernel/vhost/vhost_iotlb.ko
`
	if diff := cmp.Diff(wantDep, content(t, got[in+"/modules.dep"])); diff != "" {
		t.Errorf("modules.dep (-want +got):\n%s", diff)
	}
	if !strings.Contains(content(t, got[in+"/modules.builtin"]), "kernel/drivers/xen/xenfs.ko\n") {
		t.Error("modules.builtin lacks xenfs")
	}
	if report.Version != release || !slices.Equal(report.Builtin, []string{"xenfs"}) || len(report.Modules) != 8 {
		t.Errorf("report = %+v", report)
	}
}

func TestBuildTakesTheDefaultModules(t *testing.T) {
	report, _ := built(t, inputs(t, nil))
	want := []string{
		"kernel/drivers/xen/xen-evtchn.ko", "kernel/drivers/xen/xen-gntdev.ko", "kernel/drivers/xen/xen-gntalloc.ko",
	}
	if diff := cmp.Diff(want, report.Modules); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
}

func TestBuildKeepsWhatIsExecutable(t *testing.T) {
	o := inputs(t, nil)
	o.Files = map[string]string{"bin/payload": o.Program}
	if err := os.Chmod(o.Program, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, got := built(t, o); got["bin/payload"].Mode != cpio.S_IFREG|0o700 {
		t.Errorf("bin/payload has mode %o", got["bin/payload"].Mode)
	}
}

func TestBuildWithoutModules(t *testing.T) {
	o := inputs(t, nil)
	o.ModulesDir = ""
	report, got := built(t, o)
	if _, ok := got["lib"]; ok || report.Version != "" {
		t.Errorf("there is a lib directory, or the report %+v has a version", report)
	}
}

func TestBuildIsReproducible(t *testing.T) {
	first := inputs(t, nil)
	if _, err := image.Build(first); err != nil {
		t.Fatal(err)
	}
	// The same content elsewhere, with other times and permissions.
	second := inputs(t, nil)
	past := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	for _, file := range []string{second.Program, filepath.Join(second.ModulesDir, "kernel/drivers/xen/xen-evtchn.ko")} {
		if err := errors.Join(os.Chtimes(file, past, past), os.Chmod(file, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := image.Build(second); err != nil {
		t.Fatal(err)
	}
	a, err := os.ReadFile(first.Output)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(second.Output)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("the same inputs gave other bytes")
	}
}

func TestBuildRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		files  map[string][]byte
		change func(o *image.Options)
		is     error
		words  []string
	}{
		"no output":                {nil, func(o *image.Options) { o.Output = "" }, nil, []string{"output"}},
		"no program":               {nil, func(o *image.Options) { o.Program += "x" }, os.ErrNotExist, []string{"programx"}},
		"a program that is a text": {map[string][]byte{"program": []byte("text")}, nil, image.ErrProgram, []string{"program", "not an ELF file"}},
		"a dynamic program": {map[string][]byte{"program": dynamicProgram()}, nil, image.ErrProgram,
			[]string{"program", "CGO_ENABLED=0"}},
		"a program that is a module": {map[string][]byte{"program": module()}, nil, image.ErrProgram,
			[]string{"program", "an ELF file, but no program"}},
		"a program that is a script": {map[string][]byte{"program": []byte("#!/bin/sh")}, nil, image.ErrProgram,
			[]string{"program", "it is a script; take an ELF file"}},
		"a program for another machine": {map[string][]byte{"program": otherMachine()}, nil, image.ErrProgram,
			[]string{"EM_AARCH64", "GOARCH=amd64"}},
		"a kernel of another release": {map[string][]byte{"vmlinuz": bzImage("5.10.0")}, nil, image.ErrVersion,
			[]string{"5.10.0", release, "vmlinuz"}},
		"a kernel that is none": {map[string][]byte{"vmlinuz": []byte("text")}, nil, image.ErrNotKernel, []string{"vmlinuz"}},
		"modules without a directory": {nil, func(o *image.Options) { o.ModulesDir, o.Modules = "", []string{"a"} }, nil,
			[]string{"no modules directory"}},
		"a module that is not there": {nil, func(o *image.Options) { o.Modules = []string{"nothing"} }, image.ErrNoModule,
			[]string{"nothing", release}},
		"a module whose name is a slip": {nil, func(o *image.Options) { o.Modules = []string{"vhost-vsok"} }, image.ErrNoModule,
			[]string{"did you mean vhost_vsock?"}},
		"a file in place of another": {nil, func(o *image.Options) { o.Files = map[string]string{"init": o.Program} }, image.ErrArchivePath,
			[]string{"init"}},
		"a file that is not there": {nil, func(o *image.Options) { o.Files = map[string]string{"etc/a": "/nothing/a"} }, os.ErrNotExist,
			[]string{"etc/a"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := inputs(t, test.files)
			output := o.Output
			if test.change != nil {
				test.change(&o)
			}
			_, err := image.Build(o)
			oneClearLine(t, err, test.words...)
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("Build = %v, want %v", err, test.is)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(output), "*domain.cpio*")); len(left) > 0 {
				t.Errorf("a failed build left %v", left)
			}
		})
	}
}

// otherMachine is a program for arm64.
func otherMachine() []byte {
	b := program()
	b[18] = 183 // e_machine
	return b
}
