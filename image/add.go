package image

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// hidden are the directories that PID 1 mounts something on. What an image has
// below them nobody would see.
var hidden = [...]string{"dev", "proc", "run", "sys", "tmp"}

// adder puts the payload into an archive.
type adder struct {
	archive *Archive
	output  string // the image, which is not to hold its last version
	size    int64  // of all files so far
	links   []madeLink
	changed []Finding // about permissions
}

// madeLink is an absolute link that is to be looked at once all is in place.
type madeLink struct{ from, name, target string }

// addEntries adds the payload.
func addEntries(a *Archive, o Options, report *Report) error {
	p := adder{archive: a, output: o.Output}
	for _, e := range o.Add {
		if err := p.add(e); err != nil {
			return fmt.Errorf("add %s: %w", e.From, err)
		}
	}
	for _, l := range p.links {
		if _, there := a.tree.resolve(l.target); !there && belowMount(path.Clean(l.target)[1:]) == "" {
			return fmt.Errorf("add %s: %w: /%s is a link to %s, which is not in the image; add that too",
				l.from, ErrPayload, l.name, l.target)
		}
	}
	report.Warnings = append(report.Warnings, p.changed...)
	return nil
}

// add adds one entry.
func (p *adder) add(e Entry) error {
	from, err := filepath.EvalSymlinks(e.From)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	to, base := e.To, filepath.Base(filepath.Clean(e.From))
	switch {
	case to == "" && !isArchivePath(base): // ., .. or /
		return fmt.Errorf("%w: it has no name for the image; use %s:/PATH", ErrPayload, e.From)
	case to == "", strings.HasSuffix(to, "/") && !info.IsDir():
		to += "/" + base
	}
	if !path.IsAbs(to) {
		return fmt.Errorf("%w: the path in the image, %q, does not begin with a slash", ErrPayload, e.To)
	}
	root := strings.TrimPrefix(path.Clean(to), "/")
	if !info.IsDir() {
		return p.file(from, root)
	}
	return filepath.WalkDir(from, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(from, at)
		if err != nil {
			return err
		}
		return p.one(e.From, at, filepath.ToSlash(inside), path.Join(root, filepath.ToSlash(inside)), d)
	})
}

// one adds what lies at a path below an added directory, inside of which it is,
// under a name in the image.
func (p *adder) one(from, at, inside, name string, d fs.DirEntry) error {
	switch {
	case d.IsDir():
		return p.directory(name, d)
	case d.Type()&fs.ModeSymlink == 0:
		return p.file(at, name)
	}
	target, err := os.Readlink(at)
	if err != nil {
		return err
	}
	if err := p.refuse(name); err != nil {
		return err
	}
	if path.IsAbs(target) {
		p.links = append(p.links, madeLink{from, name, target})
	} else if inside := path.Join(path.Dir(inside), target); inside == ".." || strings.HasPrefix(inside, "../") {
		return fmt.Errorf("%w: %s is a link to %s, which leads out of %s; add what it stands for", ErrPayload, at, target, from)
	}
	p.archive.Link(name, target)
	return p.archive.err
}

// directory adds a directory that anybody may enter, unless it is there: the
// permissions of where a payload was put together say little. Those of its files
// count.
func (p *adder) directory(name string, d fs.DirEntry) error {
	if old := p.archive.tree[name]; name == "." || old != nil && old.is(unix.S_IFDIR) {
		return nil
	}
	if err := p.refuse(name); err != nil {
		return err
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	p.changed = append(p.changed, stripped(name, info.Mode())...)
	p.archive.Dir(name, 0o755)
	return p.archive.err
}

// file adds a file.
func (p *adder) file(at, name string) error {
	if err := p.refuse(name); err != nil {
		return err
	}
	info, err := os.Stat(at)
	if err != nil {
		return err
	}
	if out, err := os.Stat(p.output); err == nil && os.SameFile(info, out) {
		return fmt.Errorf("%w: %s is the image itself; write that elsewhere", ErrPayload, at)
	}
	if p.size += info.Size(); p.size > maxUnpacked || len(p.archive.tree) >= maxRecords {
		return fmt.Errorf("%w: an image holds at most %d MiB and %d files", ErrPayload, maxUnpacked>>20, maxRecords)
	}
	p.changed = append(p.changed, stripped(name, info.Mode())...)
	return addFile(p.archive, name, at)
}

// refuse keeps the payload away from what is there, and from where it would not
// be seen.
func (p *adder) refuse(name string) error {
	why := ""
	switch old := p.archive.tree[name]; {
	case name == "":
		why = "that is a directory"
	case belowMount(name) != "":
		why = "PID 1 mounts a file system on /" + belowMount(name) + ", which would hide it"
	case name == tomlPath:
		why = "--config puts it there, and checks it"
	case name == "lib/modules" || strings.HasPrefix(name, "lib/modules/"):
		why = "--modules and --module put there what the kernel needs"
	case old == nil:
		return nil
	case name == "init" || path.Dir(name) == "sbin" && old.is(unix.S_IFLNK) && string(old.data) == "/init":
		why = "that is PID 1"
	case old.is(unix.S_IFDIR):
		why = "there is a directory of that name in the image"
	default:
		why = "it is in the image already"
	}
	return fmt.Errorf("%w: cannot be /%s: %s", ErrPayload, name, why)
}

// belowMount gives the directory that PID 1 mounts something on and that name is
// below, "" if there is none.
func belowMount(name string) string {
	top, _, below := strings.Cut(name, "/")
	for _, dir := range hidden {
		if below && top == dir {
			return dir
		}
	}
	return ""
}
