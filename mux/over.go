package mux

import "net"

// Done returns a channel that is closed when the connection carries nothing more:
// either side has closed or reset it, both directions were shut and the other side
// has agreed, or the link has ended. Data received before can still be read, and as
// long as there is some, a connection that the other side closed goes on for up to
// 8 s.
func (c *Conn) Done() <-chan struct{} {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.over {
			close(c.done)
		}
	}
	return c.done
}

// Err returns why the connection was lost, a *ResetError; nil as long as it was
// not, and for good if both directions had been shut before.
func (c *Conn) Err() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.lost == nil {
		return nil // not a nil *ResetError
	}
	return c.lost
}

// Reset is Close with RST and a reason: the other side, once it has read what
// Writes have put into the ring, sees a loss in place of an end. A direction that
// was shut before keeps its end.
func (c *Conn) Reset(r Reason) error {
	s := c.s
	s.mu.Lock()
	defer s.unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.reset(r)
	c.shutLocal(shutBoth, net.ErrClosed)
	s.tx.drain()
	return nil
}

// finish says that the connection carries nothing more. Session.mu is held.
func (c *Conn) finish() {
	if c.over {
		return
	}
	c.over = true
	if c.done != nil {
		close(c.done)
	}
}
