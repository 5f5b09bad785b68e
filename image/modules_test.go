package image_test

import (
	"debug/elf"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"xvsock/image"
)

// resolved gives the names and dependencies of modules.
func resolved(t *testing.T, dir string, names ...string) ([]string, map[string][]string, error) {
	t.Helper()
	m, err := image.OpenModules(dir)
	if err != nil {
		return nil, nil, err
	}
	modules, err := m.Resolve(names)
	var order []string
	depends := make(map[string][]string)
	for _, m := range modules {
		order = append(order, m.Path)
		if len(m.Depends) > 0 {
			depends[m.Name] = m.Depends
		}
	}
	return order, depends, err
}

func TestResolve(t *testing.T) {
	withDep := func(files map[string][]byte) map[string][]byte {
		files["lib/modules/"+release+"/modules.dep"] = []byte(
			"kernel/net/vsock.ko:\nkernel/net/virtio_common.ko: kernel/net/vsock.ko\n" +
				"kernel/vhost/vhost_iotlb.ko:\nkernel/vhost/vhost.ko: kernel/vhost/vhost_iotlb.ko\n" +
				"kernel/vhost/vhost_vsock.ko: kernel/vhost/vhost.ko kernel/vhost/vhost_iotlb.ko " +
				"kernel/net/virtio_common.ko kernel/net/vsock.ko\n")
		return files
	}
	wantDepends := map[string][]string{
		"virtio_common": {"vsock"},
		"vhost":         {"vhost_iotlb"},
		"vhost_vsock":   {"vsock", "virtio_common", "vhost", "vhost_iotlb"},
	}
	for name, files := range map[string]map[string][]byte{
		"from the modules themselves": modulesTree(t),
		"from modules.dep":            withDep(modulesTree(t)),
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(tree(t, files), "lib/modules", release)
			order, depends, err := resolved(t, dir, "vhost-vsock", "vhost", "xenfs")
			if err != nil {
				t.Fatal(err)
			}
			position := make(map[string]int)
			for i, file := range order {
				position[strings.TrimSuffix(filepath.Base(file), ".ko")] = i
			}
			if len(order) != 5 || len(position) != 5 {
				t.Errorf("order is %v, want five modules once each", order)
			}
			for _, needs := range []map[string][]string{depends, wantDepends} {
				for module, list := range needs {
					for _, need := range list {
						if position[need] >= position[module] {
							t.Errorf("%s comes after %s, which needs it: %v", need, module, order)
						}
					}
				}
			}
			if diff := cmp.Diff(sets(wantDepends), sets(depends)); diff != "" {
				t.Errorf("dependencies (-want +got):\n%s", diff)
			}
		})
	}
}

func sets(lists map[string][]string) map[string]map[string]bool {
	out := make(map[string]map[string]bool)
	for name, list := range lists {
		out[name] = make(map[string]bool)
		for _, entry := range list {
			out[name][entry] = true
		}
	}
	return out
}

func TestOpenModulesFollowsALink(t *testing.T) {
	dir := tree(t, modulesTree(t))
	link := filepath.Join(dir, "modules")
	if err := os.Symlink(filepath.Join(dir, "lib/modules", release), link); err != nil {
		t.Fatal(err)
	}
	m, err := image.OpenModules(link)
	if err != nil || m.Version != release {
		t.Errorf("OpenModules = %+v, %v, want version %s", m, err, release)
	}
}

func TestUpdatesWin(t *testing.T) {
	files := modulesTree(t)
	files["lib/modules/"+release+"/updates/dkms/xen-evtchn.ko"] = module()
	dir := filepath.Join(tree(t, files), "lib/modules", release)
	order, _, err := resolved(t, dir, "xen_evtchn")
	if err != nil || len(order) != 1 || order[0] != "updates/dkms/xen-evtchn.ko" {
		t.Errorf("Resolve = %v, %v", order, err)
	}
}

// The modules of current distributions are compressed by xz or zstd, which
// are other people's programs: this test needs them, and make test has them.
func TestCompressedModules(t *testing.T) {
	for suffix, program := range map[string]string{"gz": "gzip", "xz": "xz", "zst": "zstd"} {
		t.Run(suffix, func(t *testing.T) {
			if _, err := exec.LookPath(program); err != nil {
				t.Skipf("%s is not installed here: apt-get install xz-utils zstd", program)
			}
			dir := filepath.Join(tree(t, map[string][]byte{
				"lib/modules/" + release + "/kernel/a.ko": module(),
			}), "lib/modules", release)
			plain := filepath.Join(dir, "kernel/a.ko")
			if out, err := exec.Command(program, "-q", plain).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", program, err, out)
			}
			_ = os.Remove(plain) // zstd keeps it
			m, err := image.OpenModules(dir)
			if err != nil {
				t.Fatal(err)
			}
			modules, err := m.Resolve([]string{"a"})
			if err != nil || len(modules) != 1 || modules[0].Path != "kernel/a.ko" {
				t.Fatalf("Resolve = %v, %v", modules, err)
			}
			if diff := cmp.Diff(module(), modules[0].Data); diff != "" {
				t.Errorf("the module is not decompressed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMissingDecompressor(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	dir := filepath.Join(tree(t, map[string][]byte{
		"lib/modules/" + release + "/kernel/a.ko.xz": []byte("\xfd7zXZ\x00"),
	}), "lib/modules", release)
	_, _, err := resolved(t, dir, "a")
	if !errors.Is(err, image.ErrNoDecompressor) {
		t.Errorf("Resolve = %v, want ErrNoDecompressor", err)
	}
	oneClearLine(t, err, "a.ko.xz", "xz-utils")
}

// oneClearLine checks that an error is a single line that has all the words.
func oneClearLine(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has several lines: %q", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not name %q: %v", word, err)
		}
	}
}

func TestBadModules(t *testing.T) {
	in := "lib/modules/" + release + "/"
	for name, test := range map[string]struct {
		change map[string][]byte
		want   string // module to resolve
		is     error
		words  []string
	}{
		"a module that does not exist": {nil, "xen_nothing", image.ErrNoModule, []string{"xen_nothing", release}},
		"a dependency that does not exist": {nil, "lonely", image.ErrNoModule,
			[]string{"not_there", "lonely needs"}},
		"modules that need each other": {nil, "one", image.ErrModuleCycle, []string{"one needs two needs one"}},
		"a module of another kernel": {
			map[string][]byte{in + "kernel/a.ko": elfFile(elf.ET_REL, ".modinfo", []byte("vermagic=5.0 SMP\x00"), "")}, "a", nil,
			[]string{"kernel/a.ko", "5.0", release}},
		"a file that is no module": {map[string][]byte{in + "kernel/a.ko": program()}, "a", nil,
			[]string{"kernel/a.ko", "not a kernel module"}},
		"a file that is no ELF file": {map[string][]byte{in + "kernel/a.ko": []byte("text")}, "a", nil,
			[]string{"kernel/a.ko"}},
		"a damaged gzip file": {map[string][]byte{in + "kernel/a.ko.gz": []byte("text")}, "a", nil,
			[]string{"kernel/a.ko.gz", "decompress"}},
		"modules.dep without a colon": {map[string][]byte{in + "modules.dep": []byte("kernel/a.ko\n")}, "a", nil,
			[]string{"modules.dep", "line 1"}},
		"modules.dep that leads outside": {map[string][]byte{in + "modules.dep": []byte("../../a.ko:\n")}, "a", nil,
			[]string{"modules.dep", "../../a.ko"}},
		"modules.dep that lists what is gone": {map[string][]byte{in + "modules.dep": []byte("kernel/gone.ko:\n")}, "gone", nil,
			[]string{"gone.ko", "depmod -a " + release}},
		"modules.builtin that is not text": {map[string][]byte{in + "modules.builtin": []byte("\x00\x01\n")}, "a", nil,
			[]string{"modules.builtin", "line 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := modulesTree(t)
			maps.Copy(files, test.change)
			_, _, err := resolved(t, filepath.Join(tree(t, files), "lib/modules", release), test.want)
			oneClearLine(t, err, test.words...)
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("Resolve = %v, want %v", err, test.is)
			}
		})
	}
}

func TestOpenModulesRefuses(t *testing.T) {
	dir := tree(t, map[string][]byte{"file": nil, "empty/readme": nil})
	for name, at := range map[string]string{
		"what is not there": "nothing", "a file": "file", "a directory without modules": "empty",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := image.OpenModules(filepath.Join(dir, at))
			oneClearLine(t, err, at)
		})
	}
}
