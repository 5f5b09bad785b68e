package rig

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"
)

func TestAppsImageHoldsWhatItsProgramsNeed(t *testing.T) {
	Require(t)
	parts, err := Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(t.TempDir(), "mine")
	if err := os.WriteFile(mine, []byte("mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "apps.cpio")
	if err := WriteAppsImage(t.Context(), parts, AppsImage{Output: out, Files: map[string]string{"/root/mine": mine}}); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(f))
	if err != nil {
		t.Fatal(err)
	}
	has := make(map[string]bool)
	for _, r := range records {
		has[r.Name] = true
	}
	for _, want := range []string{"init", "bin/sh", "usr/bin/python3", "usr/bin/socat", "usr/sbin/sshd", "usr/bin/scp", "root/mine"} {
		if !has[want] {
			t.Errorf("%s is not there", want)
		}
	}
	root, err := appsRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	libraries, err := needed(root, []string{"usr/bin/python3.11", "usr/bin/socat", "usr/sbin/sshd", "usr/bin/ssh", "usr/lib/openssh/sftp-server"})
	if err != nil {
		t.Fatal(err)
	}
	for _, library := range libraries {
		if !has[library] {
			t.Errorf("library %s is not there", library)
		}
	}
	if info, err := f.Stat(); err != nil || info.Size() > 64<<20 {
		t.Errorf("%d MiB, %v", info.Size()>>20, err)
	} else {
		t.Logf("%d MiB in %d files", info.Size()>>20, len(records))
	}
}
