package evtchn

import (
	"fmt"
	"os"
	"sync/atomic"
)

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
