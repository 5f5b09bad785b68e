package image

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"
)

// ErrArchivePath says that a path cannot be in an archive, or is there twice.
var ErrArchivePath = errors.New("not a path for an archive")

// Archive collects the files of an initramfs. Everything in it belongs to
// root and has no time, and it is written in the order of its paths, so that
// the bytes depend on nothing but the content. Directories that are not named
// are made, with mode 0755.
//
// Paths are relative and clean ("sbin/poweroff"). The methods keep the first
// error; Write returns it.
type Archive struct {
	records map[string]cpio.Record
	err     error
}

// NewArchive gives an empty archive.
func NewArchive() *Archive { return &Archive{records: make(map[string]cpio.Record)} }

// File adds a file. The archive keeps data until it is written.
func (a *Archive) File(name string, data []byte, perm uint32) {
	record := cpio.StaticRecord(data, cpio.Info{Name: name, Mode: cpio.S_IFREG | uint64(perm&0o7777)})
	a.add(name, record)
}

// Link adds a symbolic link to target.
func (a *Archive) Link(name, target string) { a.add(name, cpio.Symlink(name, target)) }

// Dir adds a directory. A directory may be added again; the last mode counts.
func (a *Archive) Dir(name string, perm uint32) {
	a.add(name, cpio.Directory(name, uint64(perm&0o7777)))
}

// Char adds a character device.
func (a *Archive) Char(name string, perm uint32, major, minor uint32) {
	a.add(name, cpio.CharDev(name, uint64(perm&0o7777), uint64(major), uint64(minor)))
}

// Has reports whether name is in the archive.
func (a *Archive) Has(name string) bool {
	_, ok := a.records[name]
	return ok
}

func isDir(r cpio.Record) bool { return r.Mode&cpio.S_IFMT == cpio.S_IFDIR }

func (a *Archive) add(name string, record cpio.Record) {
	if a.err != nil {
		return
	}
	if !isArchivePath(name) {
		a.err = fmt.Errorf("%w: %q", ErrArchivePath, name)
		return
	}
	if old, ok := a.records[name]; ok && !(isDir(old) && isDir(record)) {
		a.err = fmt.Errorf("%w: %q is in it already", ErrArchivePath, name)
		return
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		above, ok := a.records[dir]
		if ok && !isDir(above) {
			a.err = fmt.Errorf("%w: %q lies below %q, which is no directory", ErrArchivePath, name, dir)
			return
		}
		if !ok {
			above = cpio.Directory(dir, 0o755)
			above.NLink = 1
			a.records[dir] = above
		}
	}
	record.NLink = 1
	a.records[name] = record
}

func isArchivePath(name string) bool {
	return name != "" && name != "." && !path.IsAbs(name) && path.Clean(name) == name &&
		name != ".." && !strings.HasPrefix(name, "../") && !strings.ContainsRune(name, 0) &&
		name != cpio.Trailer
}

// Write writes the archive as an uncompressed newc cpio.
func (a *Archive) Write(w io.Writer) error {
	if a.err != nil {
		return a.err
	}
	out := cpio.Newc.Writer(w)
	for _, name := range slices.Sorted(maps.Keys(a.records)) {
		if err := out.WriteRecord(a.records[name]); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	if err := cpio.WriteTrailer(out); err != nil {
		return fmt.Errorf("write the end of the archive: %w", err)
	}
	return nil
}
