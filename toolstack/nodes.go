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
// above it belong to the backend too, so that it can remove them.
func (w *writer) backNodes(front Domain, back xen.DomID, again bool, attachment string, tags []string) {
	dir := xenbus.BackPath(back, front.ID)
	perms := ownedBy(back, front.ID)
	alone := []xenstore.Permission{{Domain: back}}
	w.mkdir(path.Dir(xenbus.BackendsPath(back)))
	w.dir(xenbus.BackendsPath(back), alone)
	w.dir(path.Dir(dir), perms)
	w.dir(dir, perms)
	w.node(dir+"/frontend", xenbus.FrontPath(front.ID), perms)
	w.node(dir+"/frontend-id", front.ID.String(), perms)
	w.node(dir+"/name", front.Name, perms)
	w.node(dir+"/uuid", front.UUID, perms)
	w.node(dir+"/attachment", attachment, perms)
	w.node(dir+"/tags", strings.Join(tags, " "), alone)
	w.node(dir+"/online", "1", perms)
	if !again {
		w.node(dir+"/state", "1", perms)
	}
}

// ownedBy is the permissions of a half's nodes: owner may do all, reader read.
func ownedBy(owner, reader xen.DomID) []xenstore.Permission {
	p := []xenstore.Permission{{Domain: owner}}
	if reader != owner {
		p = append(p, xenstore.Permission{Domain: reader, Read: true})
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
