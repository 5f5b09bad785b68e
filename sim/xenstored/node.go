package xenstored

import (
	"slices"
	"strings"

	"xvsock/xen"
	"xvsock/xenstore"
)

// node is one node of the tree. A node that is in a map is never changed, only
// replaced, so that transactions can share it.
type node struct {
	value       []byte
	permissions []permission // the first is the owner's
	children    []string     // in the order in which they were made
	generation  uint64       // of its last change
}

// permission is an entry of a node's list. One that was made for a domain that
// did not exist, or does not any more, stays visible but is void.
type permission struct {
	xenstore.Permission
	void bool
}

// absent is the generation of a node that does not exist.
const absent = ^uint64(0)

// generationOf is n's generation, or absent.
func generationOf(n *node) uint64 {
	if n == nil {
		return absent
	}
	return n.generation
}

// owner is the domain that owns n.
func (n *node) owner() xen.DomID { return n.permissions[0].Domain }

// size is what counts against the quota for a node's size: the record as the C
// xenstored keeps it, a header of 24 bytes, 8 for each permission, the value, and
// the children's names.
func (n *node) size() int {
	size := 24 + 8*len(n.permissions) + len(n.value)
	for _, name := range n.children {
		size += len(name) + 1
	}
	return size
}

// rights is a set of what one may do.
type rights uint8

const (
	mayRead rights = 1 << iota
	mayWrite
	isOwner
)

// rightsOf is what domain d may do by a list of permissions.
func rightsOf(d *domain, list []permission) rights {
	if d.privileged() || list[0].Domain == d.id {
		return mayRead | mayWrite | isOwner
	}
	p := list[0]
	for _, entry := range list[1:] {
		if !entry.void && entry.Domain == d.id {
			p = entry
			break
		}
	}
	var r rights
	if p.Read {
		r |= mayRead
	}
	if p.Write {
		r |= mayWrite
	}
	return r
}

// void returns list with the entries of dom after the first made void.
func void(list []permission, dom xen.DomID) []permission {
	list = slices.Clone(list)
	for i := range list[1:] {
		if list[1+i].Domain == dom {
			list[1+i].void = true
		}
	}
	return list
}

// parentOf is the path of the node above path, which is not "/".
func parentOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

// nameOf is the last name in path.
func nameOf(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// childOf is the path of the node called name below path.
func childOf(path, name string) string {
	if path == "/" {
		return "/" + name
	}
	return path + "/" + name
}

// isBelow reports whether path is top or below it.
func isBelow(path, top string) bool {
	rest, ok := strings.CutPrefix(path, top)
	return top == "/" || ok && (rest == "" || rest[0] == '/')
}

// maxPath is the most bytes of a path, less the "/local/domain/<id>/" that it
// may begin with.
const maxPath = xenstore.MaxRelativePath

// validPath reports whether path can be the absolute path of a node.
func validPath(path string) bool {
	if !strings.HasPrefix(path, "/") || path != "/" && strings.HasSuffix(path, "/") || strings.Contains(path, "//") {
		return false
	}
	rest := path
	if below, ok := strings.CutPrefix(path, "/local/domain/"); ok {
		if id, inner, ok := strings.Cut(below, "/"); ok {
			if _, err := xenstore.ParseUint(id, 99999); err == nil {
				rest = inner
			}
		}
	}
	return len(rest) <= maxPath && strings.Trim(path, pathBytes) == ""
}

const pathBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-/_@"
