package xenbus

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/time/rate"

	"xvsock/xen"
	"xvsock/xenstore"
)

// Errors of a Device.
var (
	// ErrDetached says that the toolstack has taken the device away.
	ErrDetached = errors.New("detached by the toolstack")
	// ErrMoved says that the toolstack has given the frontend another backend.
	ErrMoved = errors.New("moved to another backend")
	// ErrGone says to a backend that its frontend's half does not exist any
	// more: the domain was destroyed.
	ErrGone = errors.New("the frontend's domain is gone")
)

// How often the other half's state is read. Its domain may write it as often as it
// likes, and every write is an event: it gets a burst that no handshake needs,
// then 20 looks a second, whatever it does (rule R15).
const (
	lookEvery = 50 * time.Millisecond
	lookBurst = 20
)

// Node is a name and a value in a device's directory.
type Node struct{ Name, Value string }

// Device is one half of a device. It is used by one goroutine at a time.
type Device struct {
	store *xenstore.Client
	own   string // our directory
	other string // the other half's
	peer  xen.DomID
	looks *rate.Limiter

	// The node of our directory that is there for as long as we are attached.
	anchor string
	// For a frontend: the anchor's value, and the watch on it. A backend has
	// many frontends and few watches (128 outside domain 0, by xenstored's
	// quota): whoever watches all its devices at once ends the context instead.
	backend     string
	anchorWatch *xenstore.Watch
	stateWatch  *xenstore.Watch // the other half's state
}

// OpenFront opens the frontend's half of domain self. It returns an error that
// wraps ErrDetached when the domain is not attached, or to nothing that could be a
// domain.
func OpenFront(ctx context.Context, store *xenstore.Client, self xen.DomID) (_ *Device, err error) {
	d := &Device{store: store, own: FrontPath(self), anchor: "backend-id", looks: newLooks()}
	if d.backend, err = store.Read(ctx, d.own+"/"+d.anchor); missing(err) {
		return nil, fmt.Errorf("%s: %w", d.own, ErrDetached)
	} else if err != nil {
		return nil, err
	}
	if d.peer, err = xen.ParseDomID(d.backend); err != nil {
		return nil, fmt.Errorf("%s/%s: %w: %w", d.own, d.anchor, ErrDetached, err)
	}
	d.other = BackPath(d.peer, self)
	if d.stateWatch, err = store.Watch(ctx, d.other+"/state"); err != nil {
		return nil, err
	}
	if d.anchorWatch, err = store.Watch(ctx, d.own+"/"+d.anchor); err != nil {
		return nil, errors.Join(err, d.stateWatch.Close())
	}
	return d, nil
}

// OpenBack opens the half that domain self holds as the backend of domain front.
func OpenBack(ctx context.Context, store *xenstore.Client, self, front xen.DomID) (_ *Device, err error) {
	d := &Device{store: store, own: BackPath(self, front), other: FrontPath(front), peer: front, anchor: "online", looks: newLooks()}
	if d.stateWatch, err = store.Watch(ctx, d.other+"/state"); err != nil {
		return nil, err
	}
	return d, nil
}

// newLooks returns the limit on reads of the other half's state.
func newLooks() *rate.Limiter { return rate.NewLimiter(rate.Every(lookEvery), lookBurst) }

// Close ends the watches. It writes nothing.
func (d *Device) Close() error {
	err := d.stateWatch.Close()
	if d.anchorWatch != nil {
		err = errors.Join(err, d.anchorWatch.Close())
	}
	return err
}

// front reports whether this is the frontend's half.
func (d *Device) front() bool { return d.anchorWatch != nil }

// Peer is the domain of the other half.
func (d *Device) Peer() xen.DomID { return d.peer }

// checkAnchor reads the node by which the toolstack attaches us. The error wraps
// ErrDetached when it is not there, and ErrMoved when it is not what a frontend
// was opened for.
func (d *Device) checkAnchor(ctx context.Context, read readFunc) error {
	v, err := read(ctx, d.own+"/"+d.anchor)
	switch {
	case missing(err):
		return fmt.Errorf("%s: %w", d.own, ErrDetached)
	case err == nil && d.front() && v != d.backend:
		return fmt.Errorf("%s: %w", d.own, ErrMoved)
	}
	return err
}

// readFunc is Read of a Client or of a Tx.
type readFunc func(ctx context.Context, path string) (string, error)

// Switch writes nodes and then our state, in one transaction, so that the other
// half never sees the state without what it announces. It writes only while the
// device is still attached, and attached to the same backend: it never makes a
// directory again that the toolstack has removed, and never tells a new backend
// what was meant for the old one. The error wraps ErrDetached or ErrMoved then.
func (d *Device) Switch(ctx context.Context, s State, nodes ...Node) error {
	err := d.store.Transaction(ctx, func(tx *xenstore.Tx) error {
		if err := d.checkAnchor(ctx, tx.Read); err != nil {
			return err
		}
		for _, n := range nodes {
			if err := tx.Write(ctx, d.own+"/"+n.Name, n.Value); err != nil {
				return err
			}
		}
		return tx.Write(ctx, d.own+"/state", s.text())
	})
	if err != nil {
		return fmt.Errorf("switch to %v: %w", s, err)
	}
	return nil
}

// Other reads the other half's state. A malformed state is Closed: the other
// domain may write there what it likes. A missing or unreadable one is Closed to
// a frontend, whose backend may yet come; to a backend it is ErrGone.
func (d *Device) Other(ctx context.Context) (State, error) {
	v, err := d.store.Read(ctx, d.other+"/state")
	switch {
	case missing(err) && d.front():
		return Closed, nil
	case missing(err):
		return Closed, fmt.Errorf("domain %v: %w", d.peer, ErrGone)
	case err != nil:
		return Closed, err
	}
	s, err := ParseState(v)
	if err != nil || s == Unknown {
		return Closed, nil
	}
	return s, nil
}

// missing reports whether err says that a node is not there. In a directory that
// is not there either, a domain other than 0 is told that it may not look.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

// Await waits until the other half's state satisfies ok and returns it. It
// returns an error that wraps ErrDetached, ErrMoved or ErrGone when the device is
// no more, and the context's cause when that ends first. It holds nothing of the
// other domain while it waits.
func (d *Device) Await(ctx context.Context, ok func(State) bool) (State, error) {
	for {
		if err := d.stays(ctx); err != nil {
			return Closed, err
		}
		s, err := d.Other(ctx)
		if err != nil || ok(s) {
			return s, err
		}
		if err := d.changed(ctx); err != nil {
			return Closed, fmt.Errorf("await state of domain %v: %w", d.peer, err)
		}
	}
}

// changed waits until it is worth looking again, and until that may be done.
func (d *Device) changed(ctx context.Context) error {
	select {
	case <-d.stateWatch.Changed():
	case <-d.moved():
	case <-d.store.Done():
		return d.store.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	wait := d.looks.Reserve().Delay()
	if wait == 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-d.store.Done():
		return d.store.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Pause waits for d. It returns early with an error that wraps ErrDetached or
// ErrMoved when the toolstack takes a frontend's device away, and with the
// context's cause when that ends first.
func (d *Device) Pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return nil
		case <-d.moved():
			if err := d.stays(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// moved receives when the toolstack has written a frontend's anchor; a backend's
// devices are watched by whoever has them all.
func (d *Device) moved() <-chan struct{} {
	if !d.front() {
		return nil
	}
	return d.anchorWatch.Changed()
}

// stays checks that a frontend still has the backend that it was opened for.
func (d *Device) stays(ctx context.Context) error {
	if !d.front() {
		return nil
	}
	return d.checkAnchor(ctx, d.store.Read)
}

// Read reads nodes of the other half's directory in one transaction, so that
// they belong together. The values are the other domain's text.
func (d *Device) Read(ctx context.Context, names ...string) ([]string, error) {
	values := make([]string, len(names))
	err := d.store.Transaction(ctx, func(tx *xenstore.Tx) (err error) {
		for i, name := range names {
			if values[i], err = tx.Read(ctx, d.other+"/"+name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what domain %v offers: %w", d.peer, err)
	}
	return values, nil
}
