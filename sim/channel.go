package sim

import (
	"fmt"
	"os"
	"sync"

	"xvsock/evtchn"
	"xvsock/xen"
)

var _ evtchn.Channel = (*Channel)(nil)

// Channel implements evtchn.Channel.
type Channel struct {
	events  *Events
	port    *port
	num     xen.Port
	event   chan struct{}
	creator stack
	void    bool // bound before a restore
	closed  bool

	mu      sync.Mutex
	enabled bool // false from the delivery of an event until Unmask
	pending bool // an event came meanwhile
}

// raise delivers an event, or notes it while the port is masked.
func (c *Channel) raise() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if !c.enabled {
		c.pending = true
		return
	}
	c.deliver()
}

func (c *Channel) deliver() {
	c.enabled = false
	c.wake()
}

// wake gives whoever waits for an event one value.
func (c *Channel) wake() {
	select {
	case c.event <- struct{}{}:
	default:
	}
}

// Port implements evtchn.Channel.
func (c *Channel) Port() xen.Port { return c.num }

// Event implements evtchn.Channel.
func (c *Channel) Event() <-chan struct{} { return c.event }

// enter begins a call on the channel. It returns with mu held for reading if the
// error is nil.
func (c *Channel) enter(op Op) error {
	p := c.events.proc
	var call *Call
	if p.dom.host.hooked() {
		call = &Call{Op: op, Port: c.num}
	}
	if err := p.enter(call); err != nil {
		return err
	}
	h := p.dom.host
	h.mu.RLock()
	var err error
	switch {
	case p.dead:
		err = ErrDead
	case c.events.cause != nil:
		err = c.events.cause
	case c.closed:
		h.misuse("%v on port %d after Close", op, c.num)
		err = os.ErrClosed
	case c.void && p.dom.unaware():
		err = ErrPretend
	case c.void:
		h.misuse("%v on port %d of before the restore", op, c.num)
		err = os.ErrClosed
	}
	if err != nil {
		h.mu.RUnlock()
	}
	return err
}

// Notify implements evtchn.Channel.
func (c *Channel) Notify() error {
	if err := c.enter(OpNotify); err != nil {
		return outcome(err, false, "notify port %d", c.num)
	}
	defer c.port.dom.host.mu.RUnlock()
	c.port.dom.counters.notifies.Add(1)
	c.port.send()
	return nil
}

// Unmask implements evtchn.Channel.
func (c *Channel) Unmask() error {
	if err := c.enter(OpUnmask); err != nil {
		return outcome(err, false, "unmask port %d", c.num)
	}
	defer c.port.dom.host.mu.RUnlock()
	c.port.dom.counters.unmasks.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enabled = true
	if c.pending {
		c.pending = false
		c.deliver()
	}
	return nil
}

// Close implements evtchn.Channel.
func (c *Channel) Close() error {
	p := c.events.proc
	if err := p.enter(&Call{Op: OpClose, Port: c.num}); err != nil {
		return outcome(err, true, "unbind port %d", c.num)
	}
	h := p.dom.host
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case p.dead:
	case c.events.cause == evtchn.ErrAbandoned && !c.closed:
		return fmt.Errorf("unbind port %d: %w", c.num, evtchn.ErrAbandoned)
	default:
		c.end()
	}
	return nil
}

// end unbinds the channel once. The caller holds mu for writing.
func (c *Channel) end() {
	if c.closed {
		return
	}
	if c.void {
		c.events.proc.dom.host.misuse("unbind of port %d of before the restore", c.num)
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	delete(c.events.channels, c)
	if !c.void {
		c.port.put()
	}
}
