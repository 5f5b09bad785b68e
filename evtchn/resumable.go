package evtchn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"xvsock/xen"
)

// closeWait bounds how long Resumable.Close waits for Settle.
const closeWait = 2 * time.Second

// Device is a Binder that can be closed and abandoned: Kernel, or package sim's.
// Of Abandon and Close the first call counts, and the other one then does nothing.
type Device interface {
	Binder
	// Abandon gives the device up without touching it; see Kernel.
	Abandon()
	// Close unbinds all ports and closes the device. An error that wraps ErrAbandoned
	// says that this could not be done, and that the device was abandoned instead.
	Close() error
}

// ResumableConfig says how a Resumable works.
type ResumableConfig struct {
	// Open opens the device: at the beginning, and after each resume.
	Open func() (Device, error)
	// Settle returns nil when no resume can have come before it was called without
	// Abandon having been called. It makes that out for as long as it takes; an
	// error says that it could not. nil: the domain is never suspended, as dom0 is
	// not.
	Settle func(ctx context.Context) error
	// Look is a quick Settle, for a resume of which the news is here but was not
	// acted on. It is called every few ports that are unbound after one Settle. nil:
	// there is none.
	Look func(ctx context.Context) error
	// Keep is given each device that was abandoned, and sees to it that the end of
	// this process does not close it (Keeper). After an error it is called again.
	// nil: this process does not end before its domain does, as PID 1 does not.
	Keep func(Device) error
	Log  *slog.Logger // nil: none
}

// Resumable is a Binder that outlives a suspend of its domain, over one device
// before and another one after it. It keeps the rules that a resume needs (design,
// section 8): what was bound before is not touched any more, and in a domain that
// may be suspended a port is unbound late, for a resume may have come of which this
// process does not know yet, and then unbinding is a kernel BUG
// (drivers/xen/evtchn.c, evtchn_unbind_from_user).
//
//	open -----Abandon--> abandoned: no binding; Channels return ErrAbandoned
//	abandoned --Reopen-> open
//	open -----Close----> closing: no binding; waits for Settle
//	closing --settled--> closed: all ports unbound
//	closing --Abandon, or Settle fails--> closed: none unbound, the device is kept
//	abandoned --Close--> closed
//
// The Close of a Channel makes it unusable at once. Its port is unbound after the
// next Settle that begins, which all that were closed meanwhile share, and never if
// Abandon comes before. Until then it counts to the domain's ports, and Event may
// get one more value. With maxLate of them nothing more is bound.
type Resumable struct {
	cfg    ResumableConfig
	ctx    context.Context // of Settle, but for Close's
	cancel context.CancelFunc
	// unbinder is the goroutine that sees to late. It is begun in open alone, so that
	// whoever has left open may wait for it.
	unbinder sync.WaitGroup

	// mu is not held over Settle, Keep, the unbinding of a port or the closing of the
	// device: that keeps its own apart from Abandon.
	mu        sync.Mutex
	state     resumableState
	device    Device
	late      []*lateChannel // of device; closed, and not unbound yet
	due       int            // more of them, which the unbinder has taken
	unbinding bool           // the unbinder runs

	unkept  []Device      // abandoned, and not with Keep yet
	keeping chan struct{} // closed when they are, or given up; nil: there are none
}

// resumableState is where a Resumable stands; see the drawing there.
type resumableState uint8

const (
	open resumableState = iota
	abandoned
	closing
	closed
)

var _ Binder = (*Resumable)(nil)

// NewResumable opens the device.
func NewResumable(cfg ResumableConfig) (*Resumable, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r := &Resumable{cfg: cfg, state: abandoned}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if err := r.Reopen(); err != nil {
		return nil, err
	}
	return r, nil
}

// Reopen opens the device again after Abandon. By then everything else of before
// has been given back. It does nothing while the Resumable is open; after Close the
// error is os.ErrClosed.
func (r *Resumable) Reopen() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.state {
	case open:
		return nil
	case closing, closed:
		return fmt.Errorf("open event channels again: %w", os.ErrClosed)
	}
	d, err := r.cfg.Open()
	if err != nil {
		return err
	}
	r.device, r.state = d, open
	return nil
}

// Unbound implements Binder.
func (r *Resumable) Unbound(remote xen.DomID) (Channel, error) {
	d, err := r.current()
	if err != nil {
		return nil, fmt.Errorf("allocate event channel for domain %v: %w", remote, err)
	}
	return r.wrap(d)(d.Unbound(remote))
}

// Interdomain implements Binder.
func (r *Resumable) Interdomain(remote xen.DomID, port xen.Port) (Channel, error) {
	d, err := r.current()
	if err != nil {
		return nil, fmt.Errorf("bind port %d of domain %v: %w", port, remote, err)
	}
	return r.wrap(d)(d.Interdomain(remote, port))
}

// current is the device, or why nothing is bound on it.
func (r *Resumable) current() (Device, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.state == abandoned:
		return nil, ErrAbandoned
	case r.state != open:
		return nil, os.ErrClosed
	case len(r.late)+r.due >= maxLate:
		return nil, errManyLate
	}
	return r.device, nil
}

// wrap makes a channel of d ours.
func (r *Resumable) wrap(d Device) func(Channel, error) (Channel, error) {
	return func(c Channel, err error) (Channel, error) {
		if err != nil {
			return nil, err
		}
		return &lateChannel{Channel: c, binder: r, device: d}, nil
	}
}

// Abandon is called as soon as a resume was seen. When it has returned nothing that
// was bound before is touched any more, and whoever waits for an event of it has
// got one. The device is kept in the background, which Close waits for. A second
// call, and one after Close, does nothing.
func (r *Resumable) Abandon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.state {
	case open:
		r.state = abandoned
	case closing:
		r.state = closed
	default:
		return
	}
	r.device.Abandon()
	r.late, r.due = nil, 0
	r.keepLater(r.device)
}

// Close unbinds all ports and closes the device, once no resume can be on its way.
// If that cannot be made out within two seconds, or the device does not let itself be
// closed, the device is abandoned. A second call does nothing.
func (r *Resumable) Close() error {
	defer r.awaitKept()
	open := r.shut()
	r.cancel()
	r.unbinder.Wait()
	if !open {
		return nil
	}
	if r.cfg.Settle != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeWait)
		defer cancel()
		if err := r.cfg.Settle(ctx); err != nil {
			r.cfg.Log.Warn("event channels are left bound: it is not known whether the domain was resumed", "error", err)
			r.Abandon()
		}
	}
	d := r.leave()
	if d == nil {
		return nil
	}
	err := d.Close()
	if errors.Is(err, ErrAbandoned) {
		r.mu.Lock()
		r.keepLater(d)
		r.mu.Unlock()
	}
	return err
}

// shut lets nothing new begin. It reports whether the device is to be closed.
func (r *Resumable) shut() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.state {
	case open:
		r.state = closing
		return true
	case abandoned:
		r.state = closed
	}
	return false
}

// leave goes from closing to closed and returns the device, which is to be closed;
// nil if it was abandoned.
func (r *Resumable) leave() Device {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != closing {
		return nil
	}
	r.state, r.late, r.due = closed, nil, 0
	return r.device
}
