package client

import (
	"context"
	"errors"
	"net"
	"time"

	"xvsock/link"
	"xvsock/vsock"
)

// serve runs the connections of l until it ends, gives back what it holds, and
// returns how long it was up and why it is not any more.
func (c *Client) serve(j *job, p *peer, l *link.Link) (lived time.Duration, err error) {
	defer c.letGo()
	stop := context.AfterFunc(j.ctx, func() {
		if err := context.Cause(j.ctx); errors.Is(err, net.ErrClosed) {
			l.End(link.Closed, nil)
		} else {
			l.End(link.Lost, err)
		}
	})
	defer stop()
	if c.goUp(j, p, l) {
		c.log.Info("link is up", "domain", p.id, "ring", l.Ring())
		err = c.run(p, l)
		c.goDown(p)
	}
	l.End(link.Lost, err) // no-op unless the Stack came back early
	err, lived = l.Err(), time.Since(l.Formed())
	if cerr := l.Close(); cerr != nil {
		c.log.Warn("take link down", "domain", p.id, "error", cerr)
	}
	c.log.Info("link is down", "domain", p.id, "reason", err)
	return lived, err
}

// goUp notes that the link to p is l, unless that was forbidden meanwhile.
func (c *Client) goUp(j *job, p *peer, l *link.Link) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j.ctx.Err() != nil || p.rec == nil {
		return false
	}
	p.state, p.link, p.admits = up, l, l.Serial()
	return true
}

// goDown notes that there is no link to p any more.
func (c *Client) goDown(p *peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.link, p.admits, p.served = nil, 0, false
	c.disclaim(p)
}

// run has the Stack run the connections of l, tells those that wait for it once it
// does, and returns why the link has ended.
func (c *Client) run(p *peer, l *link.Link) error {
	err := c.stackNow().Serve(l, vsock.ToPeer, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		p.served = true
		p.settle(nil)
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if !p.served && !keepsTrying(err) {
		p.settle(failure(err))
	}
	return err
}

// stackNow returns the Stack.
func (c *Client) stackNow() *vsock.Stack {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stack
}
