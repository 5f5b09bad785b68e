package evtchn

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"xvsock/xen"
)

// channel implements Channel.
type channel struct {
	kernel *Kernel
	port   xen.Port
	event  chan struct{}

	// masked says that the device delivered an event and holds further ones back
	// until the port is written to it.
	masked atomic.Bool
	// broken is why the device cannot be used any more though the port is bound.
	broken atomic.Pointer[error]

	// mu is held over each call to the device, so that none is made for a port
	// after it was unbound and may belong to another channel.
	mu    sync.Mutex
	bound bool
	cause error // why the channel is not bound; nil while it is
}

// Port implements Channel.
func (c *channel) Port() xen.Port { return c.port }

// Event implements Channel.
func (c *channel) Event() <-chan struct{} { return c.event }

// raise is called by the reader for an event. It never waits: with a value in
// the channel already, the two events are one.
func (c *channel) raise() {
	c.masked.Store(true) // before the value, so that whoever receives it unmasks
	select {
	case c.event <- struct{}{}:
	default:
	}
}

// Notify implements Channel.
func (c *channel) Notify() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.usable()
	if err == nil {
		err = c.kernel.device.notify(c.port)
	}
	if err != nil {
		return fmt.Errorf("notify port %d: %w", c.port, err)
	}
	return nil
}

// Unmask implements Channel. It makes no system call unless an event came since
// the last Unmask.
func (c *channel) Unmask() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.usable()
	if err == nil && c.masked.Swap(false) {
		err = c.kernel.device.unmask(c.port)
	}
	if err != nil {
		return fmt.Errorf("unmask port %d: %w", c.port, err)
	}
	return nil
}

// usable is why the port must not be used, or nil. The caller holds mu.
func (c *channel) usable() error {
	if c.cause != nil {
		return c.cause
	}
	if broken := c.broken.Load(); broken != nil {
		return *broken
	}
	return nil
}

// Close implements Channel. On a channel of an abandoned Kernel it does nothing
// and returns ErrAbandoned: the port was not unbound.
func (c *channel) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.bound {
		if c.cause == ErrAbandoned {
			return fmt.Errorf("unbind port %d: %w", c.port, c.cause)
		}
		return nil
	}
	c.bound, c.cause = false, os.ErrClosed
	if err := c.kernel.unbind(c); err != nil {
		return fmt.Errorf("unbind port %d: %w", c.port, err)
	}
	return nil
}

// end takes the port away without unbinding it and wakes who waits.
func (c *channel) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.bound {
		return
	}
	c.bound, c.cause = false, cause
	c.raise()
}
