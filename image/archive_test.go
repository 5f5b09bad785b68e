package image_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"
	"xvsock/image"
)

// records reads an archive back.
func records(t *testing.T, archive []byte) map[string]cpio.Record {
	t.Helper()
	found := make(map[string]cpio.Record)
	var last string
	err := cpio.ForEachRecord(cpio.Newc.Reader(bytes.NewReader(archive)), func(r cpio.Record) error {
		if r.Name <= last {
			t.Errorf("%q comes after %q", r.Name, last)
		}
		if r.MTime != 0 || r.UID != 0 || r.GID != 0 || r.Ino != 0 {
			t.Errorf("%s has a time, an owner or an inode: %v", r.Name, r.Info)
		}
		last = r.Name
		found[r.Name] = r
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func content(t *testing.T, r cpio.Record) string {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(r.ReaderAt, 0, int64(r.FileSize)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestArchiveHoldsWhatWasAdded(t *testing.T) {
	a := image.NewArchive()
	a.File("usr/lib/deep/file", []byte("text"), 0o640)
	a.File("empty", nil, 0o600)
	a.Link("bin/sh", "busybox")
	a.Dir("tmp", 0o1777)
	a.Dir("usr", 0o700)
	a.Char("dev/console", 0o600, 5, 1)
	var b bytes.Buffer
	if err := a.Write(&b); err != nil {
		t.Fatal(err)
	}
	got := records(t, b.Bytes())
	for name, want := range map[string]struct {
		mode uint64
		text string
	}{
		"usr/lib/deep/file": {cpio.S_IFREG | 0o640, "text"},
		"empty":             {cpio.S_IFREG | 0o600, ""},
		"bin/sh":            {cpio.S_IFLNK | 0o777, "busybox"},
		"tmp":               {cpio.S_IFDIR | 0o1777, ""},
		"usr":               {cpio.S_IFDIR | 0o700, ""},
		"usr/lib/deep":      {cpio.S_IFDIR | 0o755, ""},
		"dev/console":       {cpio.S_IFCHR | 0o600, ""},
	} {
		r, ok := got[name]
		if !ok || r.Mode != want.mode || content(t, r) != want.text {
			t.Errorf("%s is %v", name, r.Info)
		}
	}
	if r := got["dev/console"]; r.Rmajor != 5 || r.Rminor != 1 {
		t.Errorf("dev/console is %d:%d, want 5:1", r.Rmajor, r.Rminor)
	}
}

func TestArchiveRefuses(t *testing.T) {
	for name, add := range map[string]func(a *image.Archive){
		"an absolute path":              func(a *image.Archive) { a.File("/x", nil, 0) },
		"a path that leads out":         func(a *image.Archive) { a.File("../x", nil, 0) },
		"a path that is not clean":      func(a *image.Archive) { a.File("a//x", nil, 0) },
		"an empty path":                 func(a *image.Archive) { a.Dir("", 0) },
		"the name that ends an archive": func(a *image.Archive) { a.File("TRAILER!!!", nil, 0) },
		"a file twice":                  func(a *image.Archive) { a.File("x", nil, 0); a.Link("x", "y") },
		"a file below a file":           func(a *image.Archive) { a.File("x", nil, 0); a.File("x/y", nil, 0) },
		"a file in place of a directory": func(a *image.Archive) {
			a.File("x/y", nil, 0)
			a.File("x", nil, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := image.NewArchive()
			add(a)
			if err := a.Write(io.Discard); !errors.Is(err, image.ErrArchivePath) {
				t.Errorf("Write = %v, want ErrArchivePath", err)
			}
		})
	}
}
