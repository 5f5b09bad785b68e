package rig

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSlots(t *testing.T) {
	t.Setenv("XVSOCK_RIG_CACHE", t.TempDir())
	var releases []func()
	for range max(1, runtime.NumCPU()/2) {
		release, err := takeSlot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*lockEvery)
	defer cancel()
	if _, err := takeSlot(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("takeSlot on a full machine = %v, want DeadlineExceeded", err)
	}
	time.AfterFunc(lockEvery, releases[0])
	release, err := takeSlot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	release()
	for _, release := range releases[1:] {
		release()
	}
}

func TestMissingNamesPackages(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	missing := Missing()
	for _, want := range []string{"qemu-system-x86", "xz-utils", "dpkg", "apt"} {
		if !slices.Contains(missing, want) {
			t.Errorf("Missing() = %v lacks %s", missing, want)
		}
	}
	_, err := Start(t.Context(), Config{LogDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "apt-get install --no-install-recommends "+strings.Join(missing, " ")) {
		t.Errorf("Start = %v, want what to install", err)
	}
}

func TestLogDirIsBelowTheModule(t *testing.T) {
	dir, err := logDirOf("TestA/with blank/and:ü")
	if err != nil {
		t.Fatal(err)
	}
	root, name, ok := strings.Cut(dir, filepath.Join("/build", "rig")+"/")
	if !ok || name != "TestA_with_blank_and:_" {
		t.Errorf("logDirOf = %s", dir)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Errorf("logDirOf = %s: %v", dir, err)
	}
}

func TestNeededNamesWhatIsMissing(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/self"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	wants, err := linksTo(self)
	if err != nil {
		t.Fatal(err)
	}
	found, err := needed(root, []string{"bin/self"})
	switch {
	case len(wants) == 0 && (err != nil || len(found) != 0):
		t.Errorf("needed of a static program = %v, %v", found, err)
	case len(wants) > 0 && (!errors.Is(err, errNoLibrary) || !strings.Contains(err.Error(), wants[0])):
		t.Errorf("needed = %v, %v, want errNoLibrary for %s", found, err, wants[0])
	}
	if _, err := needed(root, []string{"bin/gone"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("needed of a missing program = %v", err)
	}
}

func TestCommandLines(t *testing.T) {
	c := Config{Dom0Args: "a=1,2", XenArgs: "argo=1,mac-permissive=1"}.withDefaults()
	args := strings.Join(qemuArgs(c), "\x00")
	// QEMU splits -initrd at commas and takes ,, for one; -append is taken whole.
	for _, want := range []string{"a=1,,2,dom0.cpio", "argo=1,mac-permissive=1", "dom0_mem=768M,max:768M"} {
		if !strings.Contains(args, want) {
			t.Errorf("%q lacks %q", args, want)
		}
	}
}

func TestTimedWriterStampsLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		w := &timedWriter{to: &b, begin: time.Now(), atStart: true}
		for _, piece := range []string{"one\ntw", "o\n", "", "three"} {
			if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
			time.Sleep(1500 * time.Millisecond)
		}
		want := "   0.000 one\n   0.000 two\n   4.500 three"
		if b.String() != want {
			t.Errorf("got %q, want %q", b.String(), want)
		}
	})
}
