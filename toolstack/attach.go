package toolstack

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// detachTimeout is how long Detach waits for the backend's last word.
const detachTimeout = 5 * time.Second

// ErrNotAttached says that a domain has no device.
var ErrNotAttached = errors.New("not attached")

// Attach gives front the device, with back as its backend, and records who front
// is where only the backend's domain and the toolstack can write. It works
// before and after either side has started. A domain that is attached already
// gets a new attachment, and, if back is another domain than before, moves there.
func Attach(ctx context.Context, store *xenstore.Client, front, back Domain, tags []string) error {
	attachment := newAttachment()
	err := store.Transaction(ctx, func(tx *xenstore.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		was, err := backendOf(ctx, tx.Read, front.ID)
		if err != nil && !errors.Is(err, ErrNotAttached) {
			return err
		}
		again := err == nil
		if again && was != back.ID {
			w.remove(path.Dir(xenbus.BackPath(was, front.ID)))
		}
		w.frontNodes(front.ID, back.ID, again)
		w.backNodes(front, back.ID, again && was == back.ID, attachment, tags)
		return w.err
	})
	if err != nil {
		return fmt.Errorf("attach %v to %v: %w", front, back, err)
	}
	return nil
}

// writer writes the nodes of a device, until the first error.
type writer struct {
	ctx context.Context
	tx  *xenstore.Tx
	err error
}

// frontNodes writes the frontend's directory: owned by the frontend, readable by
// the backend. A frontend that is there already keeps its state, so that it
// notices the move by itself.
func (w *writer) frontNodes(front, back xen.DomID, again bool) {
	dir := xenbus.FrontPath(front)
	perms := ownedBy(front, back)
	w.dir(path.Dir(dir), ownedBy(front, back))
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
	w.mkdir(path.Dir(xenbus.BackendsPath(back)))
	w.dir(xenbus.BackendsPath(back), []xenstore.Permission{{Domain: back}})
	w.dir(path.Dir(dir), perms)
	w.dir(dir, perms)
	w.node(dir+"/frontend", xenbus.FrontPath(front.ID), perms)
	w.node(dir+"/frontend-id", front.ID.String(), perms)
	w.node(dir+"/name", front.Name, perms)
	w.node(dir+"/uuid", front.UUID, perms)
	w.node(dir+"/attachment", attachment, perms)
	w.node(dir+"/tags", strings.Join(tags, " "), []xenstore.Permission{{Domain: back}})
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
	if w.err == nil {
		w.err = w.tx.Write(w.ctx, name, value)
	}
	if w.err == nil {
		w.err = w.tx.SetPermissions(w.ctx, name, perms...)
	}
}

// remove removes a directory if it is there.
func (w *writer) remove(dir string) {
	if w.err == nil {
		w.err = w.tx.Remove(w.ctx, dir)
	}
	if errors.Is(w.err, fs.ErrNotExist) {
		w.err = nil
	}
}

// backendOf reads which backend a frontend has. The frontend owns the node, so
// what it holds is checked, and used only to find the backend's directory.
func backendOf(ctx context.Context, read func(context.Context, string) (string, error), front xen.DomID) (xen.DomID, error) {
	v, err := read(ctx, xenbus.FrontPath(front)+"/backend-id")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ErrNotAttached
	}
	if err != nil {
		return 0, err
	}
	return xen.ParseDomID(v)
}

// newAttachment returns 128 random bits in hexadecimal: the name of one attach.
func newAttachment() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// Detach takes the device away from front: it tells the backend to let go, waits
// a few seconds for it, and removes the nodes of both sides.
func Detach(ctx context.Context, store *xenstore.Client, front Domain) error {
	back, err := backendOf(ctx, store.Read, front.ID)
	if err != nil {
		return fmt.Errorf("detach %v: %w", front, err)
	}
	dir := xenbus.BackPath(back, front.ID)
	if err := letGo(ctx, store, dir); err != nil {
		return fmt.Errorf("detach %v: %w", front, err)
	}
	err = store.Transaction(ctx, func(tx *xenstore.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		w.remove(path.Dir(dir))
		w.remove(path.Dir(xenbus.FrontPath(front.ID)))
		return w.err
	})
	if err != nil {
		return fmt.Errorf("detach %v: remove nodes: %w", front, err)
	}
	return nil
}

// letGo sets online to 0 and waits until the backend has closed, or long enough:
// a backend that does not run cannot.
func letGo(ctx context.Context, store *xenstore.Client, dir string) error {
	state, err := store.Watch(ctx, dir+"/state")
	if err != nil {
		return err
	}
	defer state.Close()
	if _, err := store.Read(ctx, dir+"/online"); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := store.Write(ctx, dir+"/online", "0"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, detachTimeout)
	defer cancel()
	for {
		v, err := optional(store.Read(ctx, dir+"/state"))
		if s, perr := xenbus.ParseState(v); v == "" || perr == nil && (s == xenbus.Closed || s == xenbus.Initialising) {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-state.Changed():
		case <-ctx.Done():
			return nil
		}
	}
}
