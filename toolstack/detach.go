package toolstack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"syscall"
	"time"

	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// detachTimeout is how long Detach waits for a backend's last word.
const detachTimeout = 5 * time.Second

// ErrNotAttached says that a domain has no device.
var ErrNotAttached = errors.New("not attached")

// Detach takes the device away from front: it tells the backend to let go, waits
// a few seconds for it, and removes the nodes of both sides. A backend that does
// not run, or does not listen, only makes it take longer. The error wraps
// ErrNotAttached if there is nothing to take away.
func Detach(ctx context.Context, store *xenstore.Client, front Domain) error {
	held, err := attachedTo(ctx, store, front.ID)
	if err != nil {
		return fmt.Errorf("detach %v: %w", front, err)
	}
	wait, cancel := context.WithTimeout(ctx, detachTimeout)
	defer cancel()
	for _, back := range held {
		err := letGo(wait, store, xenbus.BackPath(back, front.ID))
		if err != nil && wait.Err() == nil {
			return fmt.Errorf("detach %v: %w", front, err)
		}
	}
	if err := removeDevice(ctx, store, front.ID, held); err != nil {
		return fmt.Errorf("detach %v: remove nodes: %w", front, err)
	}
	return nil
}

// attachedTo lists the backends that front has; none, if only the frontend's half
// is left.
func attachedTo(ctx context.Context, store *xenstore.Client, front xen.DomID) (held []xen.DomID, err error) {
	err = store.Transaction(ctx, func(tx *xenstore.Tx) (err error) {
		if held, err = backends(ctx, tx, front); err != nil || len(held) > 0 {
			return err
		}
		_, err = tx.Read(ctx, xenbus.FrontPath(front))
		if errors.Is(err, fs.ErrNotExist) {
			err = ErrNotAttached
		}
		return err
	})
	return held, err
}

// letGo sets online to 0 and waits until the backend has closed. One that has not
// begun has nothing to close.
func letGo(ctx context.Context, store *xenstore.Client, dir string) error {
	state, err := store.Watch(ctx, dir+"/state")
	if err != nil {
		return err
	}
	defer state.Close()
	err = store.Transaction(ctx, func(tx *xenstore.Tx) error {
		if _, err := tx.Read(ctx, dir+"/online"); err != nil {
			return err
		}
		return tx.Write(ctx, dir+"/online", "0")
	})
	for err == nil {
		var text string
		if text, err = store.Read(ctx, dir+"/state"); err != nil {
			break
		}
		if s, err := xenbus.ParseState(text); err == nil && (s == xenbus.Closed || s == xenbus.Initialising) {
			return nil
		}
		select {
		case <-state.Changed():
		case <-store.Done():
			return store.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return absentIsFine(err)
}

// removeDevice removes both halves at once. A frontend that writes into its half
// all the time can keep a transaction from ever succeeding; then the halves go one
// by one, the backend's first.
func removeDevice(ctx context.Context, store *xenstore.Client, front xen.DomID, held []xen.DomID) error {
	remove := func(rm func(context.Context, string) error) error {
		var err error
		for _, back := range held {
			err = errors.Join(err, absentIsFine(rm(ctx, path.Dir(xenbus.BackPath(back, front)))))
		}
		return errors.Join(err, absentIsFine(rm(ctx, path.Dir(xenbus.FrontPath(front)))))
	}
	err := store.Transaction(ctx, func(tx *xenstore.Tx) error { return remove(tx.Remove) })
	if errors.Is(err, syscall.EAGAIN) {
		err = remove(store.Remove)
	}
	return err
}
