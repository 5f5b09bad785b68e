package evtchn

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// settleAgain is the pause after a Settle that failed.
const settleAgain = time.Second

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
		r.task.Go(r.unbind)
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
		for err := r.cfg.Settle(r.ctx); err != nil; err = r.cfg.Settle(r.ctx) {
			if r.ctx.Err() != nil {
				return
			}
			r.cfg.Log.Warn("ports stay bound until xenstore answers", "ports", len(due), "error", err)
			select {
			case <-time.After(settleAgain):
			case <-r.ctx.Done():
				return
			}
		}
		for _, c := range due {
			if err := c.Channel.Close(); err != nil && !errors.Is(err, ErrAbandoned) {
				r.cfg.Log.Warn("unbind event channel", "error", err)
			}
		}
	}
}

// takeLate returns what is to be unbound next, or nil, which is the end of unbind.
func (r *Resumable) takeLate() []*lateChannel {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := r.late
	r.late = nil
	if r.state != open || len(due) == 0 {
		r.unbinding = false
		return nil
	}
	return due
}
