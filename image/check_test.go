package image_test

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/u-root/u-root/pkg/cpio"

	"xvsock/image"
)

const (
	drivers    = "lib/modules/" + release + "/kernel/drivers/xen/"
	evtchnFile = drivers + "xen-evtchn.ko"
	depFile    = "lib/modules/" + release + "/modules.dep"
	otherDir   = "lib/modules/5.10.0-other"
)

// goodConfig is the configuration of a kernel that has all but Xen's drivers.
const goodConfig = `#
# Linux/x86 6.1.0 Kernel Configuration
#
CONFIG_XEN=y
CONFIG_XEN_PV=y
# CONFIG_XEN_PVH is not set
CONFIG_BLK_DEV_INITRD=y
CONFIG_RD_GZIP=y
CONFIG_BINFMT_ELF=y
CONFIG_PROC_FS=y
CONFIG_SYSFS=y
CONFIG_DEVTMPFS=y
CONFIG_TMPFS=y
CONFIG_UNIX=y
CONFIG_EPOLL=y
CONFIG_EVENTFD=y
CONFIG_FUTEX=y
CONFIG_HVC_XEN=y
CONFIG_XEN_DEV_EVTCHN=m
CONFIG_XEN_GNTDEV=m
CONFIG_XEN_GRANT_DEV_ALLOC=m
`

// files are those of an image by path.
type files = map[string]cpio.Record

func file(data []byte, perm uint64) cpio.Record {
	return cpio.StaticRecord(data, cpio.Info{Mode: cpio.S_IFREG | perm})
}

// toCheck builds an image in order, changes its files, and gives options that know
// all of its kernel.
func toCheck(t *testing.T, change func(files)) image.CheckOptions {
	t.Helper()
	o := withSettings(t, "", "service=kv:7000:exec:/kv -x", "module=vhost-vsock")
	o.Add = o.Add[:1]
	_, got := built(t, o)
	c := image.CheckOptions{File: o.Output, Kernel: o.Kernel, ModulesDir: o.ModulesDir, Settings: settingsTable()}
	if change == nil {
		return c
	}
	change(got)
	if err := os.WriteFile(o.Output, gzipped(t, archived(t, got)), 0o644); err != nil {
		t.Fatal(err)
	}
	return c
}

// archived writes files as an archive, in order, directories made.
func archived(t *testing.T, all files) []byte {
	t.Helper()
	for name := range maps.Clone(all) {
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			if _, ok := all[dir]; !ok {
				all[dir] = cpio.Directory(dir, 0o755)
			}
		}
	}
	var b bytes.Buffer
	w := cpio.Newc.Writer(&b)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		r := all[name]
		r.Name = name
		if err := w.WriteRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func found(t *testing.T, o image.CheckOptions) (image.CheckReport, []string) {
	t.Helper()
	r, err := image.Check(o)
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{}
	for _, f := range r.Findings {
		lines = append(lines, string(f.Level)+": "+f.String())
	}
	return r, lines
}

func TestCheckFindsNothingInWhatBuildMakes(t *testing.T) {
	for name, change := range map[string]func(*image.CheckOptions){
		"all known":                      func(*image.CheckOptions) {},
		"its own modules.builtin serves": func(o *image.CheckOptions) { o.ModulesDir = "" },
		"without the kernel":             func(o *image.CheckOptions) { o.Kernel = "" },
	} {
		o := toCheck(t, nil)
		change(&o)
		r, lines := found(t, o)
		if len(lines) > 0 || r.Lacks() != 0 || r.Version != release || len(r.Modules) != 8 || r.File != o.File {
			t.Errorf("%s: %v, %+v", name, lines, r)
		}
	}
}

func TestCheckSaysWhatIsMissing(t *testing.T) {
	const (
		build = "; build the image with xvsock image build"
		mods  = "; build the image with --modules lib/modules/" + release
	)
	del := func(names ...string) func(files) {
		return func(f files) {
			for _, name := range names {
				delete(f, name)
			}
		}
	}
	put := func(name string, r cpio.Record) func(files) { return func(f files) { f[name] = r } }
	for name, test := range map[string]struct {
		change func(files)
		want   []string
	}{
		"no PID 1": {del("init"), []string{
			"missing: /init: the kernel runs it as PID 1, and it is not in the image" + build,
			"missing: /sbin/poweroff: the kernel runs it for poweroff, and it is not in the image; make it a link to /init",
			"missing: /sbin/reboot: the kernel runs it for reboot, and it is not in the image; make it a link to /init",
		}},
		"PID 1 is not executable": {put("init", file(program(), 0o644)), []string{
			"wrong: /init: it is not an executable file" + build,
			"wrong: /sbin/poweroff: the kernel runs it for poweroff, and it is not executable; make it a link to /init",
			"wrong: /sbin/reboot: the kernel runs it for reboot, and it is not executable; make it a link to /init",
		}},
		"PID 1 is dynamic": {func(f files) {
			f["init"], f["sbin/poweroff"], f["sbin/reboot"] = file(dynamicProgram(), 0o755), file(program(), 0o755), file(program(), 0o755)
		}, []string{"wrong: /init: not a static program for this domain: it is linked dynamically; link it statically (Go: CGO_ENABLED=0)" + build}},
		"PID 1 is for another machine": {func(f files) {
			f["init"], f["sbin/poweroff"], f["sbin/reboot"] = file(otherMachine(), 0o755), file(program(), 0o755), file(program(), 0o755)
		}, []string{"wrong: /init: not a static program for this domain: it is for EM_AARCH64, not EM_X86_64; build it for Linux on x86-64 (Go: GOARCH=amd64)" + build}},
		"no sbin/reboot": {del("sbin/reboot"), []string{
			"missing: /sbin/reboot: the kernel runs it for reboot, and it is not in the image; make it a link to /init"}},
		"no dev/console": {del("dev/console"), []string{
			"warning: /dev/console: not in the image: what fails before /dev is mounted is not seen"}},
		"a driver's file": {del(evtchnFile), []string{
			"missing: /" + evtchnFile + ": modules.dep names it, and it is not in the image" + mods}},
		"a dependency's file": {del("lib/modules/" + release + "/kernel/net/vsock.ko"), []string{
			"missing: /lib/modules/" + release + "/kernel/net/vsock.ko: modules.dep names it, and it is not in the image" + mods}},
		"a driver that no index names": {put(depFile, file([]byte("kernel/drivers/xen/xen-gntdev.ko:\n"+
			"kernel/drivers/xen/xen-gntalloc.ko:\nkernel/vhost/vhost_vsock.ko:\n"), 0o644)), []string{
			"missing: xen_evtchn: neither in the image for " + release + " nor built into the kernel" + mods}},
		"no modules.dep": {del(depFile), []string{
			"missing: /" + depFile + ": PID 1 finds modules by it, and it is not in the image; run depmod before the image is made",
			"missing: xen_evtchn: neither in the image for " + release + " nor built into the kernel" + mods,
			"missing: xen_gntdev: neither in the image for " + release + " nor built into the kernel" + mods,
			"missing: xen_gntalloc: neither in the image for " + release + " nor built into the kernel" + mods,
			"missing: vhost_vsock: neither in the image for " + release + " nor built into the kernel" + mods,
		}},
		"a modules.dep that is damaged": {put(depFile, file([]byte("../x.ko:\n"), 0o644)), []string{
			"missing: xen_evtchn: neither", "missing: xen_gntdev: ", "missing: xen_gntalloc: ", "missing: vhost_vsock: ",
			"wrong: /" + depFile + `: line 1 has "../x.ko", which is not a module's path below the directory; run depmod before the image is made`,
		}},
		"a module of another kernel": {put(evtchnFile, file(elfFile(elf.ET_REL, ".modinfo", []byte("vermagic=5.0 SMP\x00"), ""), 0o644)), []string{
			"wrong: /" + evtchnFile + `: it was built for kernel "5.0", and this is ` + release + mods}},
		"a module that is none": {put(evtchnFile, file(program(), 0o644)), []string{
			"wrong: /" + evtchnFile + ": no .modinfo section: not a kernel module" + mods}},
		"modules for another kernel only": {func(f files) {
			for name, r := range maps.Clone(f) {
				if rest, ok := strings.CutPrefix(name, "lib/modules/"+release); ok {
					delete(f, name)
					f[otherDir+rest] = r
				}
			}
		}, []string{
			"missing: xen_evtchn: neither in the image for " + release + " nor", "missing: xen_gntdev: ", "missing: xen_gntalloc: ", "missing: vhost_vsock: ",
			"wrong: /lib/modules: the modules are for 5.10.0-other only, and KERNEL is " + release + mods,
		}},
		"settings that are wrong": {put("etc/xvsock.toml", file([]byte("nmae = \"a\"\n"), 0o644)), []string{
			`wrong: /etc/xvsock.toml:1: nmae="a": unknown key; did you mean name?`}},
		"settings that are no TOML": {put("etc/xvsock.toml", file([]byte("a b\n"), 0o644)), []string{"wrong: /etc/xvsock.toml:1: "}},
		"settings that are no file": {put("etc/xvsock.toml", cpio.Directory("", 0o755)), []string{"wrong: /etc/xvsock.toml: it is no file"}},
		"a service's program": {del("kv"), []string{
			"missing: /kv: service kv runs it, but it is not in the image; add it with --add FILE:/kv"}},
		"a service's program that is dynamic": {put("kv", file(dynamicProgram(), 0o755)), []string{
			`wrong: /kv: service kv runs it, but it is linked dynamically, and its interpreter "/lib64/ld-linux-x86-64.so.2" is not in the image; `}},
		"a service's program that is root's alone": {func(f files) {
			f["kv"] = file(program(), 0o700)
			f["etc/xvsock.toml"] = file([]byte(`service = ["kv:7000:exec:/kv", "a:7001:exec,uid=1000,gid=5:/kv"]`), 0o644)
		}, []string{"wrong: /kv: service a runs it, but uid 1000, gid 5 may not execute it (mode 0700); chmod +x it before it is added"}},
		"a service's program that is its group's": {func(f files) {
			f["kv"], f["etc/xvsock.toml"] = file(program(), 0o710), file([]byte(`service = ["a:7001:exec,uid=1000:/kv"]`), 0o644)
		}, nil},
		"a service's program that is not its group's": {func(f files) {
			f["kv"], f["etc/xvsock.toml"] = file(program(), 0o701), file([]byte(`service = ["a:7001:exec,uid=1000:/kv"]`), 0o644)
		}, []string{"wrong: /kv: service a runs it, but uid 1000, gid 0 may not"}},
		"a service's program that is its user's": {func(f files) {
			r := file(program(), 0o700)
			r.UID, r.GID = 1000, 7
			f["kv"], f["etc/xvsock.toml"] = r, file([]byte(`service = ["a:7001:exec,uid=1000:/kv"]`), 0o644)
		}, nil},
		"another program that is dynamic": {put("bin/tool", file(dynamicProgram(), 0o755)), []string{
			`warning: /bin/tool: it is linked dynamically, and`}},
		"a dynamic program with its interpreter": {func(f files) {
			f["kv"], f["usr/lib64/ld-linux-x86-64.so.2"] = file(dynamicProgram(), 0o755), file(program(), 0o755)
			f["lib64"] = cpio.Symlink("", "usr/lib64")
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := toCheck(t, test.change)
			r, lines := found(t, o)
			ok := len(lines) == len(test.want)
			for i := range min(len(lines), len(test.want)) {
				want := strings.ReplaceAll(test.want[i], "KERNEL", o.Kernel)
				ok = ok && strings.HasPrefix(lines[i], want)
			}
			if diff := cmp.Diff(test.want, lines); !ok {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			lacks := len(test.want) > 0 && !strings.HasPrefix(test.want[0], "warning")
			if (r.Lacks() > 0) != lacks {
				t.Errorf("Lacks = %d", r.Lacks())
			}
		})
	}
}

// TestCheckKnowsWhatIsBuiltIn has an image without modules.
func TestCheckKnowsWhatIsBuiltIn(t *testing.T) {
	allBuiltIn := strings.ReplaceAll(goodConfig, "=m", "=y")
	builtin := "kernel/drivers/xen/xen-evtchn.ko\nkernel/drivers/xen/xen-gntdev.ko\nkernel/drivers/xen/xen-gntalloc.ko\n"
	const take = "; take another kernel"
	neither := func(names ...string) (lines []string) {
		for _, name := range names {
			lines = append(lines, "missing: "+name+": neither in the image for "+release+" nor built into the kernel; build the image with --modules lib/modules/"+release)
		}
		return lines
	}
	unknown := func(version string, more ...string) (lines []string) {
		for _, name := range image.DefaultModules() {
			lines = append(lines, "missing: "+name+": not in the image, and whether the kernel has it built in is not known; "+
				"give --modules or --kernel-config to say that it is built in, or build the image with --modules lib/modules/"+version)
		}
		return append(lines, more...)
	}
	const noKernel = "not checked: kernel: which one the domain will boot is not known; name it with --kernel"
	for name, test := range map[string]struct {
		extra  map[string]string // files beside the kernel
		change func(dir string, o *image.CheckOptions)
		want   []string
	}{
		"nothing is known":             {nil, func(_ string, o *image.CheckOptions) { o.Kernel = "" }, unknown("VERSION", noKernel)},
		"the kernel alone says little": {nil, nil, unknown(release)},
		"modules.builtin has them": {map[string]string{"m/" + release + "/modules.builtin": builtin},
			func(dir string, o *image.CheckOptions) { o.ModulesDir = dir + "/m/" + release }, nil},
		"modules.builtin lacks one": {map[string]string{"m/" + release + "/modules.builtin": builtin[:66]},
			func(dir string, o *image.CheckOptions) { o.ModulesDir = dir + "/m/" + release }, neither("xen_gntalloc")},
		"a configuration is named": {map[string]string{"c": allBuiltIn},
			func(dir string, o *image.CheckOptions) { o.KernelConfig = dir + "/c" }, nil},
		"a configuration without a kernel": {map[string]string{"c": allBuiltIn},
			func(dir string, o *image.CheckOptions) { o.Kernel, o.KernelConfig = "", dir+"/c" }, []string{noKernel}},
		"the configuration is beside the kernel": {map[string]string{"config-" + release: allBuiltIn}, nil, nil},
		"they are modules of the kernel": {map[string]string{"config-" + release: goodConfig}, nil,
			neither("xen_evtchn", "xen_gntdev", "xen_gntalloc")},
		"one is not there at all": {map[string]string{"config-" + release: strings.Replace(allBuiltIn, "CONFIG_XEN_GNTDEV=y", "# CONFIG_XEN_GNTDEV is not set", 1)},
			nil, []string{"missing: xen_gntdev: not in the image, and the kernel is built without it (CONFIG_XEN_GNTDEV)" + take}},
		"what PID 1 mounts": {map[string]string{"config-" + release: strings.NewReplacer("CONFIG_DEVTMPFS=y", "", "CONFIG_TMPFS=y", "CONFIG_TMPFS=m",
			"CONFIG_PROC_FS=y", "", "CONFIG_SYSFS=y", "CONFIG_SYSFS=n").Replace(allBuiltIn)}, nil, []string{
			"missing: CONFIG_PROC_FS: not built into the kernel: PID 1 mounts /proc" + take,
			"missing: CONFIG_SYSFS: not built into the kernel: PID 1 mounts /sys" + take,
			"missing: CONFIG_DEVTMPFS: not built into the kernel: PID 1 mounts /dev, and Xen's devices appear there" + take,
			"missing: CONFIG_TMPFS: not built into the kernel: PID 1 mounts /run and /tmp" + take,
		}},
		"not for Xen, and not for gzip": {map[string]string{"config-" + release: strings.NewReplacer("CONFIG_XEN=y", "", "CONFIG_XEN_PV=y", "",
			"CONFIG_RD_GZIP=y", "", "CONFIG_HVC_XEN=y", "").Replace(allBuiltIn)}, nil, []string{
			"missing: CONFIG_XEN: not built into the kernel: the kernel runs on Xen" + take,
			"missing: CONFIG_XEN_PV or CONFIG_XEN_PVH: not built into the kernel: it boots as a PV or PVH domain" + take,
			"missing: CONFIG_RD_GZIP: not built into the kernel: the image is compressed with gzip; take another kernel, or compress it otherwise",
			"warning: CONFIG_HVC_XEN: not built into the kernel: the domain says nothing on a console",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := inputs(t, nil)
			b.ModulesDir = ""
			built(t, b)
			dir := filepath.Dir(b.Output)
			for name, text := range test.extra {
				if err := errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755),
					os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			o := image.CheckOptions{File: b.Output, Kernel: b.Kernel, Settings: settingsTable()}
			if test.change != nil {
				test.change(dir, &o)
			}
			r, lines := found(t, o)
			if test.want == nil {
				test.want = []string{}
			}
			if diff := cmp.Diff(test.want, lines); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			if lacks := slices.ContainsFunc(test.want, func(s string) bool { return strings.HasPrefix(s, "missing: ") }); (r.Lacks() > 0) != lacks {
				t.Errorf("Lacks = %d", r.Lacks())
			}
			if (r.Unchecked() > 0) != slices.Contains(test.want, noKernel) {
				t.Errorf("Unchecked = %d", r.Unchecked())
			}
			if wantBuiltin := 3; len(test.want) == 0 && len(r.Builtin) != wantBuiltin {
				t.Errorf("Builtin = %v", r.Builtin)
			}
		})
	}
}

// TestCheckOfModulesForSeveralKernels has an image for two kernels, of which nobody
// says which one it is.
func TestCheckOfModulesForSeveralKernels(t *testing.T) {
	o := toCheck(t, func(f files) {
		for name, r := range maps.Clone(f) {
			if rest, ok := strings.CutPrefix(name, "lib/modules/"+release); ok {
				f[otherDir+rest] = r
			}
		}
		for _, dir := range []string{otherDir, "lib/modules/" + release} {
			delete(f, dir+"/kernel/drivers/xen/xen-gntdev.ko")
		}
	})
	o.Kernel, o.ModulesDir = "", ""
	r, lines := found(t, o)
	const name = "in the image, and whether it is for the kernel is not known; name the kernel with --kernel"
	want := []string{
		"missing: xen_gntdev: not in the image, and whether the kernel has it built in is not known; " +
			"give --modules or --kernel-config to say that it is built in, or build the image with --modules lib/modules/VERSION",
		"not checked: kernel: which one the domain will boot is not known; name it with --kernel",
		"not checked: xen_evtchn: " + name,
		"not checked: xen_gntalloc: " + name,
		"not checked: vhost_vsock: " + name,
		"not checked: /lib/modules: there are modules for several kernels: 5.10.0-other, " + release + "; name the kernel with --kernel",
	}
	if diff := cmp.Diff(want, lines); diff != "" || r.Lacks() != 1 || r.Unchecked() != 5 {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestCheckOfModulesThatAreNotNeeded(t *testing.T) {
	o := toCheck(t, func(f files) {
		f[otherDir+"/modules.dep"] = file(nil, 0o644)
		f["etc/xvsock.toml"] = file(nil, 0o644)
		for name := range maps.Clone(f) {
			if strings.HasPrefix(name, "lib/modules/"+release) {
				delete(f, name)
			}
		}
	})
	o.ModulesDir = ""
	o.KernelConfig = filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(o.KernelConfig, gzipped(t, []byte(strings.ReplaceAll(goodConfig, "=m", "=y"))), 0o644); err != nil {
		t.Fatal(err)
	}
	r, lines := found(t, o)
	want := []string{"warning: /lib/modules: the modules are for 5.10.0-other only, and " + o.Kernel + " is " + release +
		"; build the image with --modules lib/modules/" + release}
	if diff := cmp.Diff(want, lines); diff != "" || r.Lacks() != 0 {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// TestCheckTakesBothListsOfWhatIsBuiltIn has a modules.builtin in the image that
// lacks what the one beside the modules has, and the other way round.
func TestCheckTakesBothListsOfWhatIsBuiltIn(t *testing.T) {
	for _, inImage := range []bool{true, false} {
		o := toCheck(t, func(f files) {
			f[depFile] = file([]byte("kernel/drivers/xen/xen-gntdev.ko:\nkernel/drivers/xen/xen-gntalloc.ko:\n"), 0o644)
			f["etc/xvsock.toml"] = file(nil, 0o644)
			list := ""
			if inImage {
				list = "kernel/drivers/xen/xen-evtchn.ko\n"
			}
			f["lib/modules/"+release+"/modules.builtin"] = file([]byte(list), 0o644)
		})
		if !inImage {
			if err := os.WriteFile(o.ModulesDir+"/modules.builtin", []byte("kernel/drivers/xen/xen-evtchn.ko\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		r, lines := found(t, o)
		if len(lines) > 0 || !slices.Equal(r.Builtin, []string{"xen_evtchn"}) {
			t.Errorf("in the image %v: %v, built in %v", inImage, lines, r.Builtin)
		}
	}
}

func TestCheckOfCompressedModules(t *testing.T) {
	o := toCheck(t, func(f files) {
		f[evtchnFile+".gz"] = file(gzipped(t, module()), 0o644)
		delete(f, evtchnFile)
		f[depFile] = file(bytes.ReplaceAll([]byte(content(t, f[depFile])), []byte("xen-evtchn.ko"), []byte("xen-evtchn.ko.gz")), 0o644)
	})
	if _, lines := found(t, o); len(lines) > 0 {
		t.Errorf("findings: %v", lines)
	}
	o.KernelConfig = filepath.Join(t.TempDir(), "config")
	for config, want := range map[string]int{goodConfig: 1, goodConfig + "CONFIG_MODULE_DECOMPRESS=y\n": 0} {
		if err := os.WriteFile(o.KernelConfig, []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, lines := found(t, o); len(lines) != want || want > 0 && !strings.Contains(lines[0], "CONFIG_MODULE_DECOMPRESS") {
			t.Errorf("findings: %v", lines)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	good := toCheck(t, nil)
	packed, err := os.ReadFile(good.File)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		file   []byte
		change func(o *image.CheckOptions, dir string)
		is     error
		want   string
	}{
		"a file that is not there": {nil, func(o *image.CheckOptions, _ string) { o.File = "/nothing" }, os.ErrNotExist,
			"check image: stat /nothing: no such file or directory"},
		"a directory":      {nil, func(o *image.CheckOptions, dir string) { o.File = dir }, nil, "is no ordinary file"},
		"an empty file":    {[]byte{}, nil, image.ErrArchive, "check image FILE: not an initramfs (cpio, format newc): it is empty"},
		"a text":           {[]byte("text"), nil, image.ErrArchive, "check image FILE: at byte 0: not an initramfs (cpio, format newc): neither cpio nor compressed"},
		"a gzip of a text": {gzipped(t, []byte("text")), nil, image.ErrArchive, "check image FILE: at byte 0: unpacked by gzip, at byte 0: not an initramfs (cpio, format newc)"},
		"a gzip cut short": {packed[:len(packed)/2], nil, nil, "check image FILE: at byte 0: decompress: unexpected EOF"},
		"an lz4 file":      {[]byte("\x02\x21\x4c\x18...."), nil, image.ErrArchive, "compressed with lz4, which is not read here; unpack it, or use gzip, xz or zstd"},
		"another kernel":   {nil, func(o *image.CheckOptions, dir string) { o.Kernel = dir + "/other" }, image.ErrVersion, "kernel and modules do not belong together: KERNEL is 5.10.0, and "},
		"no kernel":        {nil, func(o *image.CheckOptions, dir string) { o.Kernel = dir + "/text" }, image.ErrNotKernel, "text"},
		"no modules":       {nil, func(o *image.CheckOptions, dir string) { o.ModulesDir = dir }, nil, "no modules in it"},
		"no configuration": {nil, func(o *image.CheckOptions, dir string) { o.KernelConfig = dir + "/text" }, image.ErrKernelConfig, "text: not a kernel's configuration"},
		"no such configuration": {nil, func(o *image.CheckOptions, dir string) { o.KernelConfig = "/nothing" }, os.ErrNotExist,
			"check image: read kernel configuration: stat /nothing: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			dir := tree(t, map[string][]byte{"file": test.file, "text": []byte("text"), "other": bzImage("5.10.0")})
			if test.file != nil {
				o.File = dir + "/file"
			}
			if test.change != nil {
				test.change(&o, dir)
			}
			_, err := image.Check(o)
			oneClearLine(t, err, strings.NewReplacer("FILE", o.File, "KERNEL", o.Kernel).Replace(test.want))
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("Check = %v, want %v", err, test.is)
			}
		})
	}
}

// TestCheckIsBounded has an image that names more than anybody wants to read.
func TestCheckIsBounded(t *testing.T) {
	var index bytes.Buffer
	for i := range 5000 {
		fmt.Fprintf(&index, "kernel/m%d.ko: kernel/m%d.ko\n", i, i+1)
	}
	index.WriteString("kernel/xen_evtchn.ko: kernel/m0.ko\nkernel/xen_gntdev.ko:\nkernel/xen_gntalloc.ko:\nkernel/vhost_vsock.ko:\n")
	r, lines := found(t, toCheck(t, func(f files) { f[depFile] = file(index.Bytes(), 0o644) }))
	if len(lines) != 1001 || lines[1000] != "wrong: image: 4005 more findings" || r.Lacks() != 1001 {
		t.Errorf("%d findings, the last %q", len(lines), lines[len(lines)-1])
	}
}
