package image

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// What an initramfs may hold. It all lies in the memory of whoever builds or
// checks it, and of the domain.
const (
	maxUnpacked = 512 << 20 // bytes
	maxRecords  = 1 << 18
)

// unpacker makes of an initramfs the files that the kernel makes of it
// (init/initramfs.c). Its input may be hostile: it is read in place, and what it
// unpacks to is bounded.
//
// The kernel reads one part after the other, each plain or compressed, with
// zeros between them:
//
//	part     = plain | compressed(plain...)
//	plain    = record... [the record that ends an archive]
//
// A later file takes the place of an earlier one. What cannot be made, as its
// directory is not there yet, is dropped without a word.
type unpacker struct {
	tree     tree
	children map[string]int     // of each directory
	linked   map[hardLink]*node // first of each set of hard links in this archive
	dropped  []string           // paths, and why; at most maxDropped
	lost     int                // all that was dropped
	forms    []string           // of compression, as they came
	records  int
	left     int64 // bytes that compressed parts may still come to
}

// maxDropped is how many paths the kernel would drop are remembered by name.
const maxDropped = 8

// hardLink is what hard links of one file have in common.
type hardLink struct {
	major, minor, ino, kind uint32
}

// unpack reads a whole initramfs, whose compressed parts may come to limit bytes.
// The error wraps ErrArchive if it is the file's fault.
func unpack(file []byte, limit int64) (*unpacker, error) {
	u := &unpacker{left: limit, tree: make(tree), children: make(map[string]int), linked: make(map[hardLink]*node)}
	// Linux begins with these, from usr/default_cpio_list.
	u.put("dev", &node{mode: unix.S_IFDIR | 0o755})
	u.put("root", &node{mode: unix.S_IFDIR | 0o700})
	for at := 0; at < len(file); {
		b := file[at:]
		switch {
		case b[0] == 0:
			at++
		case b[0] == '0' && at%4 == 0:
			n, err := u.plain(b)
			if err != nil {
				return nil, fmt.Errorf("at byte %d: %w", at, err)
			}
			at += n
		default:
			n, err := u.compressed(b)
			if err != nil {
				return nil, fmt.Errorf("at byte %d: %w", at, err)
			}
			at += n
		}
	}
	if u.records == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrArchive)
	}
	return u, nil
}

// compressed unpacks the compressed part that b begins with and says how long
// that is.
func (u *unpacker) compressed(b []byte) (size int, err error) {
	form := compression(b)
	if form == nil {
		return 0, fmt.Errorf("%w: neither cpio nor compressed", ErrArchive)
	}
	if form.unpack == nil {
		return 0, fmt.Errorf("%w: compressed with %s, which is not read here; unpack it, or use gzip, xz or zstd",
			ErrArchive, form.name)
	}
	u.forms = append(u.forms, form.name)
	data, size, err := form.unpack(b, u.left)
	if err != nil {
		return 0, err
	}
	u.left -= int64(len(data))
	for at := 0; at < len(data); {
		switch {
		case data[at] == 0:
			at++
		case data[at] == '0' && at%4 == 0:
			n, err := u.plain(data[at:])
			if err != nil {
				return 0, fmt.Errorf("unpacked by %s, at byte %d: %w", form.name, at, err)
			}
			at += n
		default:
			return 0, fmt.Errorf("unpacked by %s, at byte %d: %w", form.name, at, ErrArchive)
		}
	}
	return size, nil
}

// plain reads the records that b begins with and says how many bytes they are.
func (u *unpacker) plain(b []byte) (size int, err error) {
	for size < len(b) {
		r, n, err := parseRecord(b[size:])
		if err != nil {
			return 0, err
		}
		size += n
		if u.records++; u.records > maxRecords {
			return 0, fmt.Errorf("%w: more than %d files", ErrArchive, maxRecords)
		}
		if r.isEnd() {
			clear(u.linked)
			return size, nil
		}
		u.take(r)
	}
	return size, nil
}

// take makes what a record says, as do_name and do_symlink of the kernel do.
func (u *unpacker) take(r record) {
	name := path.Clean("/" + r.name)[1:]
	if name == "" {
		return // the root is there
	}
	dir, ok := u.directory(path.Dir(name))
	if !ok {
		u.drop(r.name, "its directory does not come before it")
		return
	}
	if name = path.Join(dir, path.Base(name)); len(name) >= maxPath {
		u.drop(r.name, "its path is too long")
		return
	}
	old := u.tree[name]
	if old != nil && old.is(unix.S_IFDIR) && r.mode&unix.S_IFMT != unix.S_IFDIR && u.children[name] > 0 {
		u.drop(r.name, "there is a directory of that name before it")
		return
	}
	n := u.node(r)
	if n == nil {
		u.drop(r.name, fmt.Sprintf("the kernel makes nothing of mode %#o with %d bytes", r.mode, len(r.data)))
		return
	}
	u.put(name, n)
}

// directory gives the path of a directory without links in it.
func (u *unpacker) directory(name string) (resolved string, ok bool) {
	// Files are entered by such paths, so this is the short way for most.
	if n := u.tree[name]; n != nil && n.is(unix.S_IFDIR) {
		return name, true
	}
	resolved, ok = u.tree.resolve(name)
	return resolved, ok && u.tree.find(resolved).is(unix.S_IFDIR)
}

// node gives the node of a record: a new one, or the one of the file that it is
// a hard link of. Of those any may bring the content, usually the last. It is
// nil for what is no kind of file, or a link to nothing.
func (u *unpacker) node(r record) *node {
	switch r.mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK:
	case unix.S_IFDIR:
		return &node{mode: r.mode & 0o177777}
	case unix.S_IFLNK:
		target, _, _ := bytes.Cut(r.data, []byte{0})
		if len(target) == 0 || len(r.data) > maxPath {
			return nil
		}
		return &node{mode: r.mode & 0o177777, data: target}
	default:
		return nil
	}
	n := &node{mode: r.mode & 0o177777, uid: r.uid, gid: r.gid, data: r.data, major: r.major, minor: r.minor}
	if r.links < 2 {
		return n
	}
	key := hardLink{r.devMajor, r.devMinor, r.ino, r.mode & unix.S_IFMT}
	first, ok := u.linked[key]
	if !ok {
		u.linked[key] = n
		return n
	}
	first.mode, first.uid, first.gid = n.mode, n.uid, n.gid
	if len(r.data) > 0 {
		first.data = r.data
	}
	return first
}

// put enters a node, and counts it with its directory.
func (u *unpacker) put(name string, n *node) {
	if u.tree[name] == nil {
		u.children[path.Dir(name)]++
	}
	u.tree[name] = n
}

func (u *unpacker) drop(name, why string) {
	u.lost++
	if len(u.dropped) < maxDropped {
		u.dropped = append(u.dropped, fmt.Sprintf("%.200q: %s", strings.TrimPrefix(name, "/"), why))
	}
}
