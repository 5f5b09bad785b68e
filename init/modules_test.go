package pid1_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	pid1 "xvsock/init"
)

const (
	modulesDir = "lib/modules/6.1.0-test/"
	xenDep     = "kernel/drivers/xen/xen-evtchn.ko:\n" +
		"kernel/drivers/xen/xen-gntdev.ko: kernel/mid.ko kernel/base.ko\n" +
		"kernel/mid.ko: kernel/base.ko\nkernel/base.ko:\n" +
		"kernel/drivers/xen/xen_gntalloc.ko.xz:\n"
)

// devices returns a LoadModule that makes the device node of each driver.
func devices(root string, m *machine) func(path, params string) error {
	return func(path, params string) error {
		rel, _ := filepath.Rel(root, path)
		m.note(strings.TrimSpace("load " + rel + " " + params))
		base, _, _ := strings.Cut(filepath.Base(path), ".ko")
		if name, xen := strings.CutPrefix(strings.ReplaceAll(base, "_", "-"), "xen-"); xen {
			if err := os.MkdirAll(root+"/dev/xen", 0o755); err != nil {
				return err
			}
			return os.WriteFile(root+"/dev/xen/"+name, nil, 0o644)
		}
		return nil
	}
}

func TestDriversAreLoadedAfterWhatTheyNeed(t *testing.T) {
	root, m := t.TempDir(), &machine{}
	write(t, root, map[string]string{modulesDir + "modules.dep": xenDep})
	k := m.kernel()
	k.LoadModule = devices(root, m)
	step := pid1.ModuleStep(pid1.Modules{Kernel: k, Root: root}, pid1.Drivers(4096))
	for range 2 { // the second time everything is there
		if err := step.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"load " + modulesDir + "kernel/drivers/xen/xen-evtchn.ko",
		"load " + modulesDir + "kernel/base.ko",
		"load " + modulesDir + "kernel/mid.ko",
		"load " + modulesDir + "kernel/drivers/xen/xen-gntdev.ko",
		"load " + modulesDir + "kernel/drivers/xen/xen_gntalloc.ko.xz limit=4096",
	}
	if diff := cmp.Diff(want, m.took()); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
}

func TestWhatIsThereIsNotLoaded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		mod   pid1.Module
		files map[string]string
	}{
		{"a device node", pid1.Module{Name: "xen-evtchn", Device: "/dev/xen/evtchn"}, map[string]string{"dev/xen/evtchn": ""}},
		{"a loaded module", pid1.Module{Name: "vhost-vsock"}, map[string]string{"sys/module/vhost_vsock/refcnt": "0"}},
		{"a driver built in, spelt with a hyphen", pid1.Module{Name: "vhost-vsock"},
			map[string]string{modulesDir + "modules.builtin": "kernel/drivers/vhost/vhost_vsock.ko\n"}},
		{"a driver built in", pid1.Module{Name: "vhost_vsock"},
			map[string]string{modulesDir + "modules.builtin": "kernel/a.ko\nkernel/drivers/vhost/vhost-vsock.ko\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, m := t.TempDir(), &machine{}
			write(t, root, tt.files)
			err := pid1.Modules{Kernel: m.kernel(), Root: root}.Load(t.Context(), []pid1.Module{tt.mod})
			if err != nil || len(m.took()) != 0 {
				t.Errorf("Load() = %v, the machine saw %q; want nothing done", err, m.took())
			}
		})
	}
}

func TestAParameterIsRaisedAndNeverLowered(t *testing.T) {
	const file = "sys/module/xen_gntalloc/parameters/limit"
	for _, tt := range []struct{ name, now, want string }{
		{"a lower one is raised", "1024\n", "4096"},
		{"a higher one stays", "9000\n", "9000\n"},
		{"an unreadable one stays", "many\n", "many\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, map[string]string{file: tt.now, "dev/xen/gntalloc": ""})
			err := pid1.Modules{Kernel: (&machine{}).kernel(), Root: root}.Load(t.Context(), pid1.Drivers(4096)[2:])
			got, _ := os.ReadFile(root + "/" + file)
			if err != nil || string(got) != tt.want {
				t.Errorf("Load() = %v, limit %q; want %q", err, got, tt.want)
			}
		})
	}
}

func TestMissingModulesMakeOneClearLine(t *testing.T) {
	const fix = "; put them there with: xvsock image build --modules lib/modules/6.1.0-test"
	all := "modules xen-evtchn, xen-gntdev, xen-gntalloc: not in the kernel and not in the image, " +
		"so there is no /dev/xen/evtchn, /dev/xen/gntdev, /dev/xen/gntalloc"
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"an image without modules", nil, all + " (the image holds no modules)" + fix},
		{"an image for another kernel", map[string]string{"lib/modules/5.10.0-old/modules.dep": ""},
			all + " (the image holds those of kernel 5.10.0-old, this kernel is 6.1.0-test)" + fix},
		{"only one is missing", map[string]string{"dev/xen/evtchn": "", "dev/xen/gntdev": "", modulesDir + "modules.dep": ""},
			"module xen-gntalloc: not in the kernel and not in the image, so there is no /dev/xen/gntalloc" + fix},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, tt.files)
			err := pid1.Modules{Kernel: (&machine{}).kernel(), Root: root}.Load(t.Context(), pid1.Drivers(4096))
			if text(err) != tt.want || !errors.Is(err, pid1.ErrNoModule) {
				t.Errorf("Load() = %q; want %q", text(err), tt.want)
			}
		})
	}
}

func TestABrokenModulesDepIsNamed(t *testing.T) {
	root := t.TempDir()
	write(t, root, map[string]string{modulesDir + "modules.dep": "a.ko:\nno colon here\n"})
	err := pid1.Modules{Kernel: (&machine{}).kernel(), Root: root}.Load(t.Context(), pid1.Drivers(4096))
	if got := text(err); !strings.Contains(got, `modules.dep: line 2 has no colon: "no colon here"`) {
		t.Errorf("Load() = %q; want the line named", got)
	}
}

func TestABrokenModulesBuiltinIsNamed(t *testing.T) {
	root := t.TempDir()
	write(t, root, map[string]string{modulesDir + "modules.builtin": "kernel/a.ko\n../b.ko\n"})
	err := pid1.Modules{Kernel: (&machine{}).kernel(), Root: root}.Load(t.Context(), []pid1.Module{{Name: "b"}})
	if got := text(err); !strings.Contains(got, `modules.builtin: line 2 has "../b.ko"`) {
		t.Errorf("Load() = %q; want the line named", got)
	}
}

func TestRefusalsOfTheKernelSayWhatTheyMean(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"loaded by somebody in between, but no device", unix.EEXIST, "loaded, but there is no /dev/xen/evtchn"},
		{"not on Xen", unix.ENODEV, "module xen_evtchn: no such device; this is not a Xen domain"},
		{"made for another kernel", unix.ENOEXEC, "it is not made for this kernel"},
		{"no modules at all", unix.ENOSYS, "use one with the Xen drivers built in"},
		{"compressed", unix.EOPNOTSUPP, "cannot decompress"},
		{"not in the image", unix.ENOENT, "names a file that is not in the image"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, m := t.TempDir(), &machine{}
			write(t, root, map[string]string{modulesDir + "modules.dep": xenDep})
			k := m.kernel()
			k.LoadModule = func(string, string) error { return tt.err }
			err := pid1.Modules{Kernel: k, Root: root}.Load(t.Context(), pid1.Drivers(4096))
			if !strings.Contains(text(err), tt.want) {
				t.Errorf("Load() = %q; want %q in it", text(err), tt.want)
			}
		})
	}
}

func TestACircleOfModulesEnds(t *testing.T) {
	root, m := t.TempDir(), &machine{}
	write(t, root, map[string]string{modulesDir + "modules.dep": "xen-evtchn.ko: b.ko\nb.ko: xen-evtchn.ko\n"})
	k := m.kernel()
	k.LoadModule = devices(root, m)
	err := pid1.Modules{Kernel: k, Root: root}.Load(t.Context(), pid1.Drivers(1)[:1])
	want := []string{"load " + modulesDir + "b.ko", "load " + modulesDir + "xen-evtchn.ko"}
	if err != nil || !slices.Equal(m.took(), want) {
		t.Errorf("Load() = %v, loaded %q; want %q", err, m.took(), want)
	}
}

func TestTheRealKernelRefusesAFileThatIsNoModule(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"x.ko": "not ELF"})
	err := pid1.Linux().LoadModule(dir+"/x.ko", "")
	// Which one depends on privilege and kernel; that it is the kernel's counts.
	if _, ok := errors.AsType[unix.Errno](err); !ok {
		t.Errorf("LoadModule() = %v; want a refusal of the kernel", err)
	}
	if err := pid1.Linux().LoadModule(dir+"/none.ko", ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("LoadModule() = %v; want os.ErrNotExist", err)
	}
	if release, err := pid1.Linux().Release(); err != nil || release == "" {
		t.Errorf("Release() = %q, %v", release, err)
	}
}
