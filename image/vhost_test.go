package image_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xvsock/image"
	"xvsock/image/rig"
)

// TestVhostOnKernel runs the tests of package vhost that have the kernel's AF_VSOCK
// sockets at the other side: in dom0, and in a PV guest, whose kernel is another.
func TestVhostOnKernel(t *testing.T) {
	rig.Require(t)
	const name = "vhost.test"
	binary := filepath.Join(t.TempDir(), name)
	if err := rig.BuildTest(t.Context(), "xvsock/bridge/vhost", binary); err != nil {
		t.Fatal(err)
	}
	h := rig.Boot(t, rig.Config{
		StepTimeout: stepTimeout,
		Dom0Modules: []string{"vhost_vsock"},
		Files:       map[string]string{"/usr/bin/" + name: binary},
	})
	const command = "dmesg -c >/dev/null; uname -r; " + name + " -test.v -test.run ^TestKernel -test.timeout 3m"
	const complaints = "; status=$?; dmesg | grep -E 'WARNING:|BUG:|Oops'; exit $status"
	check := func(t *testing.T, r rig.Result, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("\n%s%s", r.Stdout, r.Stderr)
		if r.Code != 0 || !strings.Contains(r.Stdout, "--- PASS") {
			t.Errorf("ended with status %d", r.Code)
		}
		for _, bad := range []string{"there is no /dev/vhost-vsock", "WARNING:", "BUG:", "Oops"} {
			if strings.Contains(r.Stdout, bad) {
				t.Errorf("it says %q", bad)
			}
		}
	}
	t.Run("in dom0", func(t *testing.T) {
		r, err := h.Run(t.Context(), command+complaints)
		check(t, r, err)
	})
	t.Run("in a PV guest", func(t *testing.T) {
		h := h.With(t)
		guest := h.Guest(rig.Guest{Name: "vhost", Type: image.PV, MemoryMB: 256, Ramdisk: vhostImage(t, h.Parts, binary)})
		r, err := guest.Sh(t.Context(), command+" -test.short"+complaints)
		check(t, r, err)
	})
}

// vhostImage makes the initramfs of a guest with the module and the tests.
func vhostImage(t *testing.T, parts *rig.Parts, binary string) (output string) {
	t.Helper()
	from, err := image.OpenModules(parts.Guest.Modules)
	if err != nil {
		t.Fatal(err)
	}
	modules, err := from.Resolve([]string{"vhost_vsock"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files, insert := map[string]string{"/bin/vhost.test": binary}, ""
	for _, m := range modules {
		path := filepath.Join(dir, m.Name)
		if err := os.WriteFile(path, m.Data, 0o644); err != nil {
			t.Fatal(err)
		}
		files["/modules/"+m.Name] = path
		insert += "insmod /modules/" + m.Name + "\n"
	}
	output = filepath.Join(dir, "vhost.cpio")
	if err := rig.WriteShellImage(parts, rig.ShellImage{Output: output, Files: files, Before: insert}); err != nil {
		t.Fatal(err)
	}
	return output
}
