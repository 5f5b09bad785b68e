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
	"golang.org/x/sys/unix"
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
	tree tree
	err  error
}

// NewArchive gives an empty archive.
func NewArchive() *Archive { return &Archive{tree: make(tree)} }

// File adds a file. The archive keeps data until it is written.
func (a *Archive) File(name string, data []byte, perm uint32) {
	a.add(name, &node{mode: unix.S_IFREG | perm&0o7777, data: data})
}

// Link adds a symbolic link to target.
func (a *Archive) Link(name, target string) {
	a.add(name, &node{mode: unix.S_IFLNK | 0o777, data: []byte(target)})
}

// Dir adds a directory. A directory may be added again; the last mode counts.
func (a *Archive) Dir(name string, perm uint32) {
	a.add(name, &node{mode: unix.S_IFDIR | perm&0o7777})
}

// Char adds a character device.
func (a *Archive) Char(name string, perm uint32, major, minor uint32) {
	a.add(name, &node{mode: unix.S_IFCHR | perm&0o7777, major: major, minor: minor})
}

// Has reports whether name is in the archive.
func (a *Archive) Has(name string) bool {
	_, ok := a.tree[name]
	return ok
}

func (a *Archive) add(name string, n *node) {
	if a.err != nil {
		return
	}
	if !isArchivePath(name) {
		a.err = fmt.Errorf("%w: %q", ErrArchivePath, name)
		return
	}
	if old, ok := a.tree[name]; ok && !(old.is(unix.S_IFDIR) && n.is(unix.S_IFDIR)) {
		a.err = fmt.Errorf("%w: %q is in it already", ErrArchivePath, name)
		return
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		above, ok := a.tree[dir]
		if ok && !above.is(unix.S_IFDIR) {
			a.err = fmt.Errorf("%w: %q lies below %q, which is no directory", ErrArchivePath, name, dir)
			return
		}
		if !ok {
			a.tree[dir] = &node{mode: unix.S_IFDIR | 0o755}
		}
	}
	a.tree[name] = n
}

func isArchivePath(name string) bool {
	return name != "" && name != "." && !path.IsAbs(name) && path.Clean(name) == name &&
		name != ".." && !strings.HasPrefix(name, "../") && !strings.ContainsRune(name, 0) &&
		len(name) < maxPath && name != cpio.Trailer
}

// Write writes the archive as an uncompressed newc cpio.
func (a *Archive) Write(w io.Writer) error {
	if a.err != nil {
		return a.err
	}
	out := cpio.Newc.Writer(w)
	for _, name := range slices.Sorted(maps.Keys(a.tree)) {
		if err := out.WriteRecord(a.tree[name].record(name)); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	if err := cpio.WriteTrailer(out); err != nil {
		return fmt.Errorf("write the end of the archive: %w", err)
	}
	return nil
}

// record is the node as the archive has it.
func (n *node) record(name string) cpio.Record {
	r := cpio.StaticRecord(n.data, cpio.Info{
		Name: name, Mode: uint64(n.mode), NLink: 1, Rmajor: uint64(n.major), Rminor: uint64(n.minor),
	})
	if len(n.data) == 0 {
		r.ReaderAt = nil
	}
	return r
}
