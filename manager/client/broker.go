package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"xvsock/link"
	"xvsock/manager/port1"
	"xvsock/xen"
)

// attempt is what Dials to one domain wait for: that its link is served.
type attempt struct {
	port    uint32 // of the first of them
	waiters int
	done    chan struct{} // closed with err
	err     error
}

// Connect implements vsock.Broker: it has a link made to domain id, for a connection
// to port there, and returns once the Stack serves it. All that want a link to the
// same domain wait for the same one. It waits for the front link, for what spaces
// the attempts, and for the manager, until ctx ends.
//
// The error says what failed and wraps one errno: EHOSTUNREACH if the manager has
// told of nothing that is allowed there, and for 30 s after a link was BROKEN;
// EACCES if another port is; ENOBUFS out of links, grants or event channels;
// ECONNREFUSED if the other side would not; ETIMEDOUT if it did not. Where the
// hypervisor forbids the link it wraps link.ErrForbidden too. After Close it is
// net.ErrClosed.
func (c *Client) Connect(ctx context.Context, id xen.DomID, port uint32) error {
	a, err := c.want(id, port)
	if err != nil || a == nil {
		return err
	}
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		c.leave(id, a)
		return fmt.Errorf("link to domain %v: %w", id, context.Cause(ctx))
	}
}

// Errors that cost nothing to return.
var (
	errUnreachable = &linkError{errno: syscall.EHOSTUNREACH, why: errors.New("the manager tells of nothing allowed there")}
	errDenied      = &linkError{errno: syscall.EACCES, why: errors.New("the manager tells of other ports there")}
)

// linkError is why there is no link. It unwraps to the errno alone, and to
// link.ErrForbidden: what ended a link may wrap the errors of other things, an
// io.EOF of port 1 say.
type linkError struct {
	errno syscall.Errno
	why   error
}

// Error implements error.
func (e *linkError) Error() string { return "make link: " + e.why.Error() }

// Unwrap returns the errno that a socket program expects.
func (e *linkError) Unwrap() []error {
	if errors.Is(e.why, link.ErrForbidden) {
		return []error{e.errno, link.ErrForbidden}
	}
	return []error{e.errno}
}

// want joins the attempt to make a link, or begins one; nil if the link is there.
func (c *Client) want(id xen.DomID, port uint32) (*attempt, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[id]
	switch {
	case c.over != nil:
		return nil, c.over
	case p == nil || p.rec == nil || len(p.rec.Out) == 0:
		return nil, errUnreachable
	case find(p.rec.Out, port) == nil:
		return nil, errDenied
	case p.served && p.link.Err() == nil:
		return nil, nil
	}
	if p.attempt == nil {
		p.attempt = &attempt{port: port, done: make(chan struct{})}
	}
	p.attempt.waiters++
	c.work(p)
	return p.attempt, nil
}

// leave takes one waiter off an attempt. What nobody waits for is not begun; what
// the manager was asked for is seen through.
func (c *Client) leave(id xen.DomID, a *attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a.waiters--
	if p := c.peers[id]; p != nil && p.attempt == a && a.waiters == 0 {
		p.attempt = nil
		p.poke()
	}
}

// settle ends what Dials to p wait for. The caller holds mu.
func (p *peer) settle(err error) {
	if a := p.attempt; a != nil {
		p.attempt = nil
		a.err = err
		close(a.done)
	}
}

// brokenError is why no link to p is made for some time (rule R5).
func brokenError(p *peer) error {
	return &linkError{syscall.EHOSTUNREACH, fmt.Errorf("not before %v are over: %w", time.Until(p.until).Round(time.Second), p.broken)}
}

// resultError is the answer of the manager as an error; nil for OK.
func resultError(r port1.Result) error {
	why := fmt.Errorf("the manager answers: %v", r)
	switch r {
	case port1.OK:
		return nil
	case port1.Denied:
		return &linkError{syscall.EACCES, why}
	case port1.Unreachable:
		return &linkError{syscall.EHOSTUNREACH, why}
	case port1.Budget:
		return &linkError{syscall.ENOBUFS, why}
	case port1.TimedOut:
		return &linkError{syscall.ETIMEDOUT, why}
	case port1.Crossed:
		return errCrossed
	case port1.Forbidden:
		return &linkError{syscall.EHOSTUNREACH, fmt.Errorf("the other side finds: %w", link.ErrForbidden)}
	default: // Refused, ShuttingDown
		return &linkError{syscall.ECONNREFUSED, why}
	}
}

// failure is what a Dial is told when its attempt ended with err.
func failure(err error) error {
	var l *linkError
	switch {
	case errors.As(err, &l), errors.Is(err, net.ErrClosed):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return &linkError{syscall.ETIMEDOUT, err}
	case errors.Is(err, link.ErrForbidden), link.CauseOf(err) == link.Broken, errors.Is(err, errRevoked), errors.Is(err, errReplaced):
		return &linkError{syscall.EHOSTUNREACH, err}
	case errors.Is(err, errLocal):
		return &linkError{syscall.ENOBUFS, err}
	}
	return &linkError{syscall.ECONNREFUSED, err}
}
