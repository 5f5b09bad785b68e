package evtchn

import (
	"context"
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
	// Close unbinds all ports and closes the device.
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
	// Keep is given each device that was abandoned, and sees to it that the end of
	// this process does not close it (Keeper). nil: this process does not end before
	// its domain does, as PID 1 does not.
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
//	open ----Abandon-> abandoned: no binding; Channels return ErrAbandoned
//	abandoned -Reopen> open
//	open ----Close---> closing: no binding; waits for Settle
//	closing -settled-> closed: all ports unbound
//	closing -Abandon-> closed: none unbound
//	abandoned -Close-> closed
//
// The Close of a Channel makes it unusable at once. Its port is unbound after the
// next Settle that begins, which all that were closed meanwhile share, and never if
// Abandon comes before. Until then it counts to the domain's ports, and Event may
// get one more value.
type Resumable struct {
	cfg    ResumableConfig
	ctx    context.Context // of Settle, but for Close's
	cancel context.CancelFunc
	task   sync.WaitGroup

	// mu is not held over Settle, Keep or the unbinding of a port: the device itself
	// keeps that apart from Abandon.
	mu        sync.Mutex
	state     resumableState
	device    Device
	late      []*lateChannel // of device; closed, and not unbound yet
	unbinding bool           // a goroutine sees to late
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
// has been given back, above all granted pages: revoking one whose end sends an
// event takes away a new port with the old number. It does nothing while the
// Resumable is open; after Close the error is os.ErrClosed.
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
	switch r.state {
	case open:
		return r.device, nil
	case abandoned:
		return nil, ErrAbandoned
	}
	return nil, os.ErrClosed
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
// got one. A second call, and one after Close, does nothing.
func (r *Resumable) Abandon() {
	r.mu.Lock()
	switch r.state {
	case open:
		r.state = abandoned
	case closing:
		r.state = closed
	default:
		r.mu.Unlock()
		return
	}
	d := r.device
	d.Abandon()
	r.late = nil
	r.task.Add(1) // Close, and so the end of the process, waits for Keep
	r.mu.Unlock()
	defer r.task.Done()
	if r.cfg.Keep == nil {
		return
	}
	if err := r.cfg.Keep(d); err != nil {
		r.cfg.Log.Error("the event channels of before the resume cannot be kept open: "+
			"do not stop this process before the domain is shut down, it would crash the kernel", "error", err)
	}
}

// Close unbinds all ports and closes the device, once no resume can be on its way,
// or after two seconds: the end of the process would close it anyway. A second call
// does nothing.
func (r *Resumable) Close() error {
	defer r.task.Wait()
	open := r.shut()
	r.cancel()
	r.task.Wait()
	if !open {
		return nil
	}
	var late error
	if r.cfg.Settle != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeWait)
		defer cancel()
		late = r.cfg.Settle(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != closing {
		return nil
	}
	r.state, r.late = closed, nil
	if late != nil {
		r.cfg.Log.Warn("event channels are closed without knowing whether the domain was resumed", "error", late)
	}
	return r.device.Close()
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
