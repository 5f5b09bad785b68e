package xenstored

import (
	"bytes"
	"strings"
	"syscall"

	"xvsock/xenstore"
)

// write serves WRITE.
func (c *connection) write(v view, payload []byte) error {
	relative, value, ok := bytes.Cut(payload, []byte{0})
	if !ok {
		return syscall.EINVAL
	}
	path := c.absolute(string(relative))
	n, err := v.get(path, mayWrite)
	switch err {
	case nil:
		n = n.copy()
		n.value = value
		if err := v.checkSize(n); err != nil {
			return err
		}
		v.write(path, n)
	case syscall.ENOENT:
		if err := v.create(path, value); err != nil {
			return err
		}
	default:
		return err
	}
	v.changed(path, v.read(path), false, nil)
	return nil
}

// mkdir serves MKDIR.
func mkdir(v view, path string) error {
	_, err := v.get(path, mayWrite)
	if err != syscall.ENOENT {
		return err
	}
	if err := v.create(path, nil); err != nil {
		return err
	}
	v.changed(path, v.read(path), false, nil)
	return nil
}

// remove serves RM.
func remove(v view, path string) error {
	_, err := v.get(path, mayWrite)
	switch {
	case err == syscall.ENOENT && v.read(parentOf(path)) != nil:
		return nil
	case err != nil:
		return err
	case path == "/":
		return syscall.EINVAL
	}
	v.remove(path, func(p string, n *node, top bool) { v.changed(p, n, !top, nil) })
	return nil
}

// setPermissions serves SET_PERMS.
func (c *connection) setPermissions(v view, payload []byte) error {
	words, err := xenstore.SplitStrings(payload)
	if err != nil || len(words) < 2 {
		return syscall.EINVAL
	}
	list, err := c.permissions(words[1:])
	if err != nil {
		return err
	}
	if special := words[0]; strings.HasPrefix(special, "@") {
		old := c.server.special[special]
		if old == nil {
			return syscall.EINVAL
		}
		if rightsOf(c.domain, old)&(mayWrite|isOwner) != mayWrite|isOwner {
			return syscall.EACCES
		}
		c.server.special[special] = list
		return nil
	}
	path := c.absolute(words[0])
	n, err := v.get(path, mayWrite|isOwner)
	if err != nil {
		return err
	}
	if !c.domain.privileged() && list[0].Domain != n.owner() {
		return syscall.EPERM
	}
	old := n.permissions
	n = n.copy()
	n.permissions = list
	if err := v.checkSize(n); err != nil {
		return err
	}
	v.count(old[0].Domain, -1)
	v.count(list[0].Domain, 1)
	v.write(path, n)
	v.changed(path, n, false, old)
	return nil
}

// permissions parses a list. Entries of domains that do not exist are void; such
// an owner is an error.
func (c *connection) permissions(words []string) ([]permission, error) {
	if !c.domain.privileged() && len(words) > quotaPermissions {
		return nil, syscall.ENOSPC
	}
	list := make([]permission, len(words))
	for i, word := range words {
		p, err := xenstore.ParsePermission(word)
		if err != nil {
			return nil, syscall.EINVAL
		}
		list[i] = permission{Permission: p, void: c.server.domains[p.Domain] == nil}
	}
	if list[0].void {
		return nil, syscall.ENOENT
	}
	return list, nil
}
