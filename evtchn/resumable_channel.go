package evtchn

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

const (
	// settleAgain is the pause after a Settle that failed.
	settleAgain = time.Second
	// maxLate bounds the ports that were closed and wait to be unbound: when xenstore
	// does not answer they would take all that the domain has.
	maxLate = 256
	// lookEvery is how many ports are unbound after one look for a resume.
	lookEvery = 4
)

// errManyLate says that maxLate ports wait.
var errManyLate = fmt.Errorf("%d event channels wait to be unbound, until xenstore tells that the domain was not resumed", maxLate)

// lateChannel is a Channel of a Resumable. After Close its port stays bound for a
// while; the device's own Channel is used by nobody then.
type lateChannel struct {
	Channel // of device
	binder  *Resumable
	device  Device
	closed  atomic.Bool
}

// Notify implements Channel.
func (c *lateChannel) Notify() error {
	if c.closed.Load() {
		return fmt.Errorf("notify port %d: %w", c.Port(), os.ErrClosed)
	}
	return c.Channel.Notify()
}

// Unmask implements Channel.
func (c *lateChannel) Unmask() error {
	if c.closed.Load() {
		return fmt.Errorf("unmask port %d: %w", c.Port(), os.ErrClosed)
	}
	return c.Channel.Unmask()
}

// Close implements Channel. The error wraps ErrAbandoned if the port is of before a
// resume: it was not unbound and never will be.
func (c *lateChannel) Close() error {
	if c.closed.Swap(true) || c.binder.unbindLater(c) {
		return nil
	}
	return c.Channel.Close()
}

// unbindLater takes c over, to unbind it when that is safe. It is false if nothing
// has to be waited for: then what the device says of an unbinding is right.
func (r *Resumable) unbindLater(c *lateChannel) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.cfg.Settle == nil || r.device != c.device:
		return false
	case r.state == closing: // goes with the device
		return true
	case r.state != open:
		return false
	}
	r.late = append(r.late, c)
	if !r.unbinding {
		r.unbinding = true
		r.unbinder.Go(r.unbind)
	}
	return true
}

// unbind unbinds what was closed, until there is nothing left. A channel of a device
// that was abandoned meanwhile is not touched: the device sees to that.
func (r *Resumable) unbind() {
	for {
		due := r.takeLate()
		if due == nil {
			return
		}
		settled := r.settled(len(due))
		for i, c := range due {
			if settled && i > 0 && i%lookEvery == 0 && r.cfg.Look != nil && r.cfg.Look(r.ctx) != nil {
				settled = r.settled(len(due) - i)
			}
			if !settled {
				return
			}
			if err := c.Channel.Close(); err != nil && !errors.Is(err, ErrAbandoned) {
				r.cfg.Log.Warn("unbind event channel", "error", err)
			}
		}
	}
}

// settled waits for a Settle that succeeds. It is false when there will be none: the
// Resumable is being closed. In an abandoned one nothing is waited for.
func (r *Resumable) settled(ports int) bool {
	said := false
	for err := r.cfg.Settle(r.ctx); err != nil; err = r.cfg.Settle(r.ctx) {
		if r.ctx.Err() != nil {
			return false
		}
		if r.isAbandoned() {
			return true
		}
		if !said {
			said = true
			r.cfg.Log.Warn("ports stay bound until xenstore answers", "ports", ports, "error", err)
		}
		select {
		case <-time.After(settleAgain):
		case <-r.ctx.Done():
			return false
		}
	}
	return true
}

// isAbandoned reports whether the Resumable was abandoned, and nothing is left to unbind.
func (r *Resumable) isAbandoned() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state == abandoned
}

// takeLate returns what is to be unbound next, or nil, which is the end of unbind.
func (r *Resumable) takeLate() []*lateChannel {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := r.late
	r.late, r.due = nil, len(due)
	if r.state != open || len(due) == 0 {
		r.unbinding = false
		return nil
	}
	return due
}
