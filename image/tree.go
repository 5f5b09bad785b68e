package image

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// node is one file, directory, link or device of an image.
type node struct {
	mode         uint32 // type and permissions, as stat(2) has them
	uid, gid     uint32 // whom it belongs to
	data         []byte // of a file its content, of a link its target
	major, minor uint32 // of a device
}

func (n *node) is(kind uint32) bool { return n.mode&unix.S_IFMT == kind }

// executable reports whether root may run the file.
func (n *node) executable() bool { return n.is(unix.S_IFREG) && n.mode&0o111 != 0 }

// tree is what an image holds, by clean relative path ("sbin/poweroff"). Two
// paths that are hard links of each other have one node.
type tree map[string]*node

// maxLinks is how many links Linux follows in one path (MAXSYMLINKS).
const maxLinks = 40

// resolve gives the path that name stands for once all links in it are
// followed, as a process in the domain would. It is not ok when there is
// nothing, or a circle. The root is ".".
func (t tree) resolve(name string) (resolved string, ok bool) {
	at, rest, links := ".", strings.Split(name, "/"), 0
	for len(rest) > 0 {
		var step string
		step, rest = rest[0], rest[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at) // the root's parent is the root
			continue
		}
		next := path.Join(at, step)
		n, there := t[next]
		switch {
		case !there:
			return "", false
		case n.is(unix.S_IFLNK):
			if links++; links > maxLinks {
				return "", false
			}
			target := string(n.data)
			if path.IsAbs(target) {
				at = "."
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		case len(rest) > 0 && !n.is(unix.S_IFDIR):
			return "", false
		}
		at = next
	}
	return at, true
}

// find gives the file or directory that name stands for, nil if there is none.
func (t tree) find(name string) *node {
	resolved, ok := t.resolve(name)
	switch {
	case !ok:
		return nil
	case resolved == ".":
		return &node{mode: unix.S_IFDIR | 0o755}
	}
	return t[resolved]
}
