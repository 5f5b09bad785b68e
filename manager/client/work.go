package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"xvsock/link"
)

// Errors that a job ends with, beside those in peer.go.
var (
	// errLocal says that this side could not.
	errLocal = errors.New("out of what a link takes")
	// errNotBound is the end of patience with a side that did not do what it had
	// agreed to.
	errNotBound = fmt.Errorf("the other side did not bind: %w", context.DeadlineExceeded)
	// errCrossed is the end of a request that the other side's own has overtaken.
	errCrossed = errors.New("the other side asked for a link at the same time")
)

// work begins the link work for p, or pokes the goroutine that does it already. The
// caller holds mu.
func (c *Client) work(p *peer) {
	switch {
	case p.job != nil:
		p.poke()
	case c.closed:
		p.settle(net.ErrClosed)
	default:
		c.newJob(p)
		c.tasks.Go(func() {
			for c.doJob(p) {
			}
		})
	}
}

// newJob makes p's next job. The caller holds mu.
func (c *Client) newJob(p *peer) {
	p.job = &job{}
	p.job.ctx, p.job.stop = context.WithCancelCause(c.ctx)
}

// doJob makes one link, serves it and takes it down, and reports whether there is
// more to do.
func (c *Client) doJob(p *peer) (more bool) {
	j, ind := c.begin(p)
	defer j.stop(nil)
	var l *link.Link
	var lived time.Duration
	var err error
	if ind != nil {
		l, err = c.accept(j, p, ind)
	} else {
		l, err = c.offer(j, p)
	}
	if l != nil {
		lived, err = c.serve(j, p, l)
	}
	return c.finish(p, err, lived, l != nil)
}

// begin returns p's job, and the indication that it is for, if it is for one: that
// comes before a wish of our own, for the other side has offered already.
func (c *Client) begin(p *peer) (*job, *indication) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ind := p.ind
	p.ind = nil
	if ind != nil {
		p.state, p.job.bound = accepting, true
	}
	return p.job, ind
}

// finish notes how a job ended, confirms what has waited for that, and makes the
// next job if there is anything to do. What Dials wait for after a link was made is
// the next one.
func (c *Client) finish(p *peer, err error, lived time.Duration, made bool) (more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.state, p.job = idle, nil
	c.disclaim(p)
	if !ownDecision(err) {
		p.ended(err, lived)
	}
	switch {
	case c.closed:
		p.settle(net.ErrClosed)
	case !made && !keepsTrying(err):
		p.settle(failure(err))
	}
	c.confirm(p)
	if !c.closed && (p.ind != nil || p.attempt != nil) {
		c.newJob(p)
		return true
	}
	c.forgetIfIdle(p)
	return false
}

// ownDecision reports whether a job ended because of something that says nothing
// about the other side.
func ownDecision(err error) bool {
	for _, own := range []error{errNobodyAsks, errNewer, errRevoked, errReplaced, errTalkEnded} {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}

// keepsTrying reports whether Dials go on waiting after a job that ended with err:
// where that is no answer to them.
func keepsTrying(err error) bool {
	var theirs *theirsError
	return ownDecision(err) || errors.Is(err, errCrossed) || errors.As(err, &theirs)
}

// theirsError is why a link was not made that the other side had asked for.
type theirsError struct{ error }

// Unwrap returns what it wraps.
func (e *theirsError) Unwrap() error { return e.error }

// hold counts one more link, if there may be one more. The caller holds mu.
func (c *Client) hold() error {
	if c.holding >= c.cfg.MaxLinks {
		return fmt.Errorf("%w: there are %d links, the most allowed", errLocal, c.holding)
	}
	c.holding++
	return nil
}

// letGo takes hold back.
func (c *Client) letGo() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding--
}

// newOffer allocates this side's half of a link to p.
func (c *Client) newOffer(p *peer, rec *record) (*link.Offer, error) {
	opt := c.cfg.Link
	if rec.Ring != 0 {
		opt.RingSize = int(rec.Ring)
	}
	o, err := link.NewOffer(c.cfg.Domain, p.id, opt)
	return o, localError(err)
}

// localError wraps what kept this side from making a link in errLocal, unless it is
// the hypervisor that forbids it.
func localError(err error) error {
	if err == nil || errors.Is(err, link.ErrForbidden) {
		return err
	}
	return fmt.Errorf("%w: %w", errLocal, err)
}

// complete waits until the other side has bound, or takes the offer back.
func (c *Client) complete(j *job, o *link.Offer) (*link.Link, error) {
	ctx, cancel := context.WithTimeoutCause(j.ctx, bindTimeout, errNotBound)
	defer cancel()
	l, err := o.Link(ctx)
	if err != nil {
		return nil, c.release(o, err)
	}
	return l, nil
}

// release takes an offer back that came to nothing because of err, and returns err.
// That this side could not give everything back is for the log: it is no answer to
// anybody.
func (c *Client) release(o *link.Offer, err error) error {
	if rerr := o.Release(); rerr != nil {
		c.log.Warn("take back the offer of a link", "error", rerr)
	}
	return err
}
