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
	err = c.use(j, p, l)
	l.End(link.Lost, err) // no-op unless the Stack came back early
	err, lived = l.Err(), time.Since(l.Formed())
	if cerr := l.Close(); cerr != nil {
		c.log.Warn("take link down", "domain", p.id, "error", cerr)
	}
	c.log.Info("link is down", "domain", p.id, "reason", err)
	return lived, err
}

// use runs the connections of l until it ends, or j does. When it returns nothing of
// this process looks at l any more.
func (c *Client) use(j *job, p *peer, l *link.Link) error {
	over := make(chan struct{})
	stop := context.AfterFunc(j.ctx, func() {
		defer close(over)
		c.endLink(l, context.Cause(j.ctx))
	})
	defer func() {
		if !stop() {
			<-over
		}
	}()
	if !c.goUp(j, p, l) {
		return nil
	}
	defer c.goDown(p)
	c.log.Info("link is up", "domain", p.id, "ring", l.Ring())
	return c.run(p, l)
}

// endLink ends l because its job was stopped. Where connections were revoked the
// other side has some time to take the RSTs that say so (rule R6).
func (c *Client) endLink(l *link.Link, cause error) {
	if errors.Is(cause, net.ErrClosed) {
		l.End(link.Closed, nil)
		return
	}
	if errors.Is(cause, errRevoked) {
		c.settleLink(l)
	}
	l.End(link.Lost, cause)
}

// settleLink waits until the other side has taken everything, or has had time to. A
// pump that is woken looks how far the other side is.
func (c *Client) settleLink(l *link.Link) {
	for end := time.Now().Add(revokeGrace); time.Now().Before(end); {
		if c.conns(l) == 0 && l.Taken() {
			return
		}
		l.Wake()
		select {
		case <-l.Done():
			return
		case <-time.After(revokeLook):
		}
	}
}

// conns counts the connections of l that are not over yet, also for the other side.
func (c *Client) conns(l *link.Link) int {
	for _, p := range c.stackNow().Peers() {
		if p.Serial == l.Serial() {
			return p.Conns
		}
	}
	return 0
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
