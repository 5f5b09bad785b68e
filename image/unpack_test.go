package image

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/u-root/u-root/pkg/cpio"
	"golang.org/x/sys/unix"
)

// entry makes one record of an archive, as cpio -H newc does.
func entry(name string, mode uint32, ino, links int, data string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		ino, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	b.WriteString(name + "\x00")
	b.Write(make([]byte, -b.Len()&3))
	b.WriteString(data)
	b.Write(make([]byte, -b.Len()&3))
	return b.Bytes()
}

const (
	aDir  = unix.S_IFDIR | 0o755
	aFile = unix.S_IFREG | 0o644
	aLink = unix.S_IFLNK | 0o777
)

var end = entry(cpio.Trailer, 0, 0, 1, "")

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func zipped(data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(data)
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(err) // into memory
	}
	return b.Bytes()
}

// texts gives what a tree has: the content of files and links by path, "/" for
// directories.
func texts(t tree) map[string]string {
	all := make(map[string]string)
	for name, n := range t {
		if all[name] = string(n.data); n.is(unix.S_IFDIR) {
			all[name] = "/"
		}
	}
	delete(all, "dev")
	delete(all, "root")
	return all
}

func TestUnpackAsTheKernelDoes(t *testing.T) {
	a, b := entry("a", aFile, 1, 1, "one"), entry("b", aFile, 2, 1, "two")
	zeros := make([]byte, 512)
	for name, test := range map[string]struct {
		file    []byte
		want    map[string]string
		dropped int
	}{
		"one archive":                    {join(a, b, end), map[string]string{"a": "one", "b": "two"}, 0},
		"an archive without an end":      {join(a, b), map[string]string{"a": "one", "b": "two"}, 0},
		"padding behind":                 {join(a, end, zeros), map[string]string{"a": "one"}, 0},
		"two archives":                   {join(a, end, b, end), map[string]string{"a": "one", "b": "two"}, 0},
		"two with padding":               {join(a, end, zeros, b, end, zeros), map[string]string{"a": "one", "b": "two"}, 0},
		"plain, then compressed":         {join(a, end, zeros[:3], zipped(join(b, end))), map[string]string{"a": "one", "b": "two"}, 0},
		"compressed, then plain":         {join(zipped(join(a, end)), zeros[:-len(zipped(join(a, end)))&3], b, end), map[string]string{"a": "one", "b": "two"}, 0},
		"compressed twice":               {join(zipped(join(a, end)), zipped(join(b, end))), map[string]string{"a": "one", "b": "two"}, 0},
		"two in one compressed part":     {zipped(join(a, end, zeros, b, end, zeros)), map[string]string{"a": "one", "b": "two"}, 0},
		"a later file counts":            {join(a, end, entry("a", aFile, 9, 1, "new"), end), map[string]string{"a": "new"}, 0},
		"a link in place of a file":      {join(a, entry("a", aLink, 9, 1, "b")), map[string]string{"a": "b"}, 0},
		"a file in place of a link":      {join(entry("a", aLink, 9, 1, "b"), a), map[string]string{"a": "one"}, 0},
		"names with a slash or a dot":    {join(entry("/a", aFile, 1, 1, "one"), entry("./b", aFile, 2, 1, "two"), entry(".", aDir, 3, 1, "")), map[string]string{"a": "one", "b": "two"}, 0},
		"names that lead up stay inside": {entry("../../a", aFile, 1, 1, "one"), map[string]string{"a": "one"}, 0},
		"hard links, content last": {join(entry("a", aFile, 5, 3, ""), entry("b", aFile, 5, 3, ""), entry("c", aFile, 5, 3, "x")),
			map[string]string{"a": "x", "b": "x", "c": "x"}, 0},
		"hard links end with their archive": {join(entry("a", aFile, 5, 2, "x"), end, entry("b", aFile, 5, 2, ""), end),
			map[string]string{"a": "x", "b": ""}, 0},
		"a file below a link": {join(entry("usr", aDir, 1, 1, ""), entry("usr/bin", aDir, 1, 1, ""), entry("bin", aLink, 1, 1, "usr/bin"), entry("bin/a", aFile, 1, 1, "x")),
			map[string]string{"usr": "/", "usr/bin": "/", "bin": "usr/bin", "usr/bin/a": "x"}, 0},
		"a file before its directory": {join(entry("d/a", aFile, 1, 1, "x"), entry("d", aDir, 1, 1, "")), map[string]string{"d": "/"}, 1},
		"a file below a file":         {join(a, entry("a/b", aFile, 1, 1, "x")), map[string]string{"a": "one"}, 1},
		"a file in place of a directory with files": {join(entry("d", aDir, 1, 1, ""), entry("d/a", aFile, 1, 1, "x"), entry("d", aFile, 1, 1, "x")),
			map[string]string{"d": "/", "d/a": "x"}, 1},
		"a file in place of an empty directory": {join(entry("d", aDir, 1, 1, ""), entry("d", aFile, 1, 1, "x")), map[string]string{"d": "x"}, 0},
		"a file of no kind":                     {join(a, entry("d", 0, 1, 1, "")), map[string]string{"a": "one"}, 1},
		"a link whose target is too long":       {join(a, entry("l", aLink, 1, 1, strings.Repeat("x", maxPath+1))), map[string]string{"a": "one"}, 1},
		"a link to nothing":                     {join(a, entry("l", aLink, 1, 1, "")), map[string]string{"a": "one"}, 1},
		"a link up to a NUL":                    {entry("l", aLink, 1, 1, "x\x00y"), map[string]string{"l": "x"}, 0},
		"a path too long by a link": {join(entry("usr", aDir, 1, 1, ""), entry("l", aLink, 1, 1, "usr"), entry("l/"+strings.Repeat("x", maxPath-4), aFile, 1, 1, "")),
			map[string]string{"usr": "/", "l": "usr"}, 1},
		"a circle of links": {join(entry("x", aLink, 1, 1, "y"), entry("y", aLink, 1, 1, "x"), entry("x/a", aFile, 1, 1, "")), map[string]string{"x": "y", "y": "x"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := unpack(test.file, maxUnpacked)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, texts(u.tree)); diff != "" || u.lost != test.dropped {
				t.Errorf("%d dropped: %v; files (-want +got):\n%s", u.lost, u.dropped, diff)
			}
		})
	}
}

func TestUnpackByOtherPrograms(t *testing.T) {
	archive := join(entry("a", aFile, 1, 1, "one"), end)
	for name, program := range map[string]string{"xz": "xz --check=crc32", "zstd": "zstd -q"} {
		words := strings.Fields(program)
		if _, err := exec.LookPath(words[0]); err != nil {
			t.Skipf("%s is not installed here: apt-get install xz-utils zstd", words[0])
		}
		cmd := exec.Command(words[0], append(words[1:], "-c")...)
		cmd.Stdin = bytes.NewReader(archive)
		packed, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		u, err := unpack(join(entry("b", aFile, 1, 1, "two"), end, packed), maxUnpacked)
		if err != nil || !slices.Equal(u.forms, []string{name}) || texts(u.tree)["a"] != "one" || texts(u.tree)["b"] != "two" {
			t.Errorf("%s: %v, %+v", name, err, u)
		}
		if _, err := unpack(join(packed, []byte("rubbish")), maxUnpacked); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s with rubbish behind: %v", name, err)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	a := entry("a", aFile, 1, 1, "one")
	change := func(at int, text string) []byte {
		b := bytes.Clone(a)
		copy(b[at:], text)
		return b
	}
	for name, test := range map[string]struct {
		file []byte
		want string
	}{
		"zeros":                       {make([]byte, 512), "it is empty"},
		"cut in a header":             {a[:50], "cut short in a header"},
		"cut in a name":               {a[:newcHeader+1], "cut short in a file"},
		"cut in a file":               {a[:newcHeader+4], "cut short in a file"},
		"the old format":              {change(0, "070707"), "it is in the old format; use cpio -H newc"},
		"a number that is none":       {change(54, "0000000g"), `"0000000g" stands for a number in a header`},
		"a number with a sign":        {change(54, "-0000001"), `"-0000001" stands for a number in a header`},
		"a size beyond the end":       {change(54, "FFFFFFFF"), "cut short in a file"},
		"a name of 4 GiB":             {change(94, "FFFFFFFF"), "a name of 4294967295 bytes"},
		"a name of nothing":           {change(94, "00000000"), "a name of 0 bytes"},
		"a name of a NUL":             {change(newcHeader, "\x00"), "a name without an end"},
		"a name without a NUL":        {change(newcHeader, "ab"), "a name without an end"},
		"something between":           {join(a, []byte("xx00")), "cut short in a header"},
		"something behind the end":    {join(a, end, []byte("xxxx")), "neither cpio nor compressed"},
		"an archive that is not even": {join(a, end, []byte{0}, a), "neither cpio nor compressed"},
		"a gzip file that is damaged": {[]byte("\x1f\x8b\x08rubbish"), "decompress: "},
		"a compressed compressed one": {zipped(zipped(a)), "unpacked by gzip, at byte 0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := unpack(test.file, maxUnpacked)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("unpack = %v, want %s", err, test.want)
			}
		})
	}
}

func TestUnpackIsBounded(t *testing.T) {
	bomb, half := zipped(make([]byte, 1<<20+1)), zipped(make([]byte, 1<<19+1))
	if _, err := unpack(bomb, 1<<20); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("a bomb: %v", err)
	}
	// Each part fits, but not all of them.
	if _, err := unpack(join(half, half), 1<<20); err == nil || !strings.Contains(err.Error(), "larger than 524287 bytes") {
		t.Errorf("two halves of a bomb: %v", err)
	}
	many := bytes.Repeat(entry("a", aFile, 1, 1, ""), maxRecords+1)
	if _, err := unpack(many, maxUnpacked); err == nil || !strings.Contains(err.Error(), "more than 262144 files") {
		t.Errorf("too many files: %v", err)
	}
}

func TestTreeResolves(t *testing.T) {
	u, err := unpack(join(
		entry("usr", aDir, 1, 1, ""), entry("usr/bin", aDir, 1, 1, ""), entry("usr/bin/a", aFile, 1, 1, ""),
		entry("bin", aLink, 1, 1, "usr/bin"), entry("abs", aLink, 1, 1, "/bin/../bin/a"), entry("usr/up", aLink, 1, 1, "../../../abs"),
		entry("loop", aLink, 1, 1, "loop"), entry("gone", aLink, 1, 1, "nothing"),
	), maxUnpacked)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"usr/bin/a": "usr/bin/a", "bin/a": "usr/bin/a", "/bin/a": "usr/bin/a", "abs": "usr/bin/a", "usr/up": "usr/bin/a",
		"/": ".", "": ".", "../..": ".", "bin/..": "usr", "bin//./a": "usr/bin/a",
		"loop": "", "loop/x": "", "gone": "", "usr/bin/a/x": "", "usr/bin/a/..": "", "nothing": "",
	} {
		if got, ok := u.tree.resolve(name); got != want || ok != (want != "") {
			t.Errorf("resolve(%q) = %q, %v, want %q", name, got, ok, want)
		}
	}
}

func TestTreeFollowsAsManyLinksAsLinux(t *testing.T) {
	all := tree{"a": {mode: aFile}}
	name := "a"
	for i := range maxLinks + 1 {
		link := fmt.Sprintf("l%d", i+1)
		all[link] = &node{mode: aLink, data: []byte(name)}
		name = link
	}
	for name, want := range map[string]bool{"l1": true, "l40": true, "l41": false} {
		if _, ok := all.resolve(name); ok != want {
			t.Errorf("resolve(%s) = %v, want %v", name, ok, want)
		}
	}
}

// FuzzUnpack holds that nothing in a file makes unpack panic or go outside of the
// tree, and that what u-root's writer writes reads as it was.
func FuzzUnpack(f *testing.F) {
	a := join(entry("a", aFile, 1, 2, "one"), entry("l", aLink, 1, 1, "../d"), entry("d", aDir, 1, 1, ""), entry("l/b", aFile, 1, 2, ""), end)
	f.Add(a)
	f.Add(join(a, make([]byte, 8), a))
	f.Add(zipped(a))
	f.Add(join(a, zipped(a), zipped(a)))
	f.Fuzz(func(t *testing.T, in []byte) {
		if form := compression(in); form != nil && form.name != "gzip" {
			return // starts a program
		}
		u, err := unpack(in, maxUnpacked)
		if err != nil {
			return
		}
		archive := NewArchive()
		for name, n := range u.tree {
			if !isArchivePath(name) {
				t.Fatalf("%q is in the tree", name)
			}
			dir, ok := u.tree.resolve(name[:max(0, strings.LastIndexByte(name, '/'))])
			if !ok || dir != "." && !u.tree[dir].is(unix.S_IFDIR) {
				t.Fatalf("%q lies in no directory", name)
			}
			// A special file with content is none for the writer.
			archive.add(name, &node{mode: n.mode, data: n.data})
		}
		var b bytes.Buffer
		if err := archive.Write(&b); err != nil {
			t.Fatal(err)
		}
		again, err := unpack(b.Bytes(), maxUnpacked)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(texts(u.tree), texts(again.tree)); diff != "" {
			t.Errorf("written and read (-want +got):\n%s", diff)
		}
		_, _ = items(again.tree)
		_ = otherPrograms(again.tree, nil)
	})
}

// FuzzReadProgram holds that no file makes readProgram panic.
func FuzzReadProgram(f *testing.F) {
	f.Add([]byte("#! /bin/sh\n"))
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if interpreter, err := readProgram(in); err == nil && len(interpreter) > maxPath {
			t.Errorf("an interpreter of %d bytes", len(interpreter))
		}
	})
}

// FuzzKernelConfig holds that only options are taken from any text.
func FuzzKernelConfig(f *testing.F) {
	f.Add([]byte("CONFIG_XEN=y\n# CONFIG_X is not set\nCONFIG_Y=n\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := parseKernelConfig(in)
		if err != nil {
			return
		}
		for option := range maps.Keys(c) {
			if !strings.HasPrefix(option, "CONFIG_") {
				t.Errorf("%q was taken for an option", option)
			}
		}
	})
}
