package rig

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"

	"xvsock/image"
)

func TestATarBecomesAnArchiveWithoutWhatIsUnwanted(t *testing.T) {
	var in bytes.Buffer
	w := tar.NewWriter(&in)
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./bin", Typeflag: tar.TypeSymlink, Linkname: "usr/bin"},
		{Name: "./usr/bin/a", Typeflag: tar.TypeReg, Mode: 0o4755, Size: 4},
		{Name: "./usr/bin/b", Typeflag: tar.TypeLink, Mode: 0o4755, Linkname: "./usr/bin/a"},
		{Name: "./dev/null", Typeflag: tar.TypeChar},
		{Name: "./usr/share/doc/a/copyright", Typeflag: tar.TypeReg, Size: 4},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			w.Write([]byte("text"))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "root.tar")
	if err := os.WriteFile(file, in.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	a := image.NewArchive()
	if err := addTar(a, file); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := a.Write(&out); err != nil {
		t.Fatal(err)
	}
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(out.Bytes())))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]uint64{
		"bin": cpio.S_IFLNK | 0o777, "usr": cpio.S_IFDIR | 0o755, "usr/bin": cpio.S_IFDIR | 0o755,
		"usr/bin/a": cpio.S_IFREG | 0o4755, "usr/bin/b": cpio.S_IFREG | 0o4755,
	}
	for _, r := range records {
		if r.Mode != want[r.Name] {
			t.Errorf("%s has mode %o, want %o", r.Name, r.Mode, want[r.Name])
		}
		if r.Mode&cpio.S_IFMT == cpio.S_IFREG && r.FileSize != 4 {
			t.Errorf("%s has %d bytes, want 4", r.Name, r.FileSize)
		}
		delete(want, r.Name)
	}
	if len(want) > 0 {
		t.Errorf("not there: %v", want)
	}
}

func TestATarThatIsCutIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "root.tar")
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), 700), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := addTar(image.NewArchive(), file); err == nil {
		t.Error("no error")
	}
}
