package toolstack

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// writer writes the nodes of a device, until the first error.
type writer struct {
	ctx context.Context
	tx  *xenstore.Tx
	err error
}

// frontNodes writes the frontend's directory: owned by the frontend, readable by
// the backend. A frontend that is attached there already keeps its state.
func (w *writer) frontNodes(front, back xen.DomID, again bool) {
	dir := xenbus.FrontPath(front)
	perms := ownedBy(front, back)
	w.dir(path.Dir(dir), perms)
	w.dir(dir, perms)
	w.node(dir+"/backend", xenbus.BackPath(back, front), perms)
	w.node(dir+"/backend-id", back.String(), perms)
	if !again {
		w.node(dir+"/state", "1", perms)
	}
}

// backNodes writes the backend's directory and who the frontend is. The levels
// above it belong to the backend too, so that it can remove them, and so does
// state. What only the toolstack writes is domain 0's: a node counts against the
// quota of its owner, 1000 by default in C xenstored, which is to last for the
// frontends of a backend that is not in domain 0. Who may remove a directory may
// remove all that is in it.
func (w *writer) backNodes(front Domain, back xen.DomID, again bool, attachment string, tags []string) {
	dir := xenbus.BackPath(back, front.ID)
	perms, told := ownedBy(back, front.ID), ownedBy(0, back, front.ID)
	w.mkdir(path.Dir(xenbus.BackendsPath(back)))
	w.dir(xenbus.BackendsPath(back), ownedBy(back))
	w.dir(path.Dir(dir), perms)
	w.dir(dir, perms)
	w.node(dir+"/frontend", xenbus.FrontPath(front.ID), told)
	w.node(dir+"/frontend-id", front.ID.String(), told)
	w.node(dir+"/name", front.Name, told)
	w.node(dir+"/uuid", front.UUID, told)
	w.node(dir+"/attachment", attachment, told)
	w.node(dir+"/tags", strings.Join(tags, " "), ownedBy(0, back))
	w.node(dir+"/online", "1", told)
	if !again {
		w.node(dir+"/state", "1", perms)
	}
}

// ownedBy is the permissions of a node: owner may do all, readers read.
func ownedBy(owner xen.DomID, readers ...xen.DomID) []xenstore.Permission {
	p := []xenstore.Permission{{Domain: owner}}
	for _, r := range readers {
		if r != owner {
			p = append(p, xenstore.Permission{Domain: r, Read: true})
		}
	}
	return p
}

// mkdir makes a directory unless it is there.
func (w *writer) mkdir(dir string) {
	if w.err == nil {
		w.err = w.tx.Mkdir(w.ctx, dir)
	}
}

// dir makes a directory with the given permissions.
func (w *writer) dir(dir string, perms []xenstore.Permission) {
	w.mkdir(dir)
	if w.err == nil {
		w.err = w.tx.SetPermissions(w.ctx, dir, perms...)
	}
}

// node writes a value with the given permissions.
func (w *writer) node(name, value string, perms []xenstore.Permission) {
	w.inherit(name, value)
	if w.err == nil {
		w.err = w.tx.SetPermissions(w.ctx, name, perms...)
	}
}

// inherit writes a value. A node that is new gets the permissions of the one
// above it.
func (w *writer) inherit(name, value string) {
	if w.err == nil {
		w.err = w.tx.Write(w.ctx, name, value)
	}
}

// remove removes a directory if it is there.
func (w *writer) remove(dir string) {
	if w.err == nil {
		w.err = absentIsFine(w.tx.Remove(w.ctx, dir))
	}
}

// absentIsFine is err, but for a node that is not there.
func absentIsFine(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// exists reports whether a node is there.
func exists(ctx context.Context, read func(context.Context, string) (string, error), node string) (bool, error) {
	_, err := read(ctx, node)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
