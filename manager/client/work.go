package client

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"xvsock/link"
	"xvsock/manager/port1"
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
	// errBug is a panic of this side.
	errBug = errors.New("a bug of this side")
)

// work begins the link work for p, or pokes the goroutine that does it already. The
// caller holds mu.
func (c *Client) work(p *peer) {
	switch {
	case p.job != nil:
		p.poke()
	case c.over != nil:
		p.settle(c.over)
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
	lived, err := c.do(j, p, ind)
	return c.finish(p, err, lived, j.link != nil)
}

// do is doJob without what goes before and after. A panic is a bug of ours. It ends
// this link, or the attempt to make it, as if the other side had lied, and not the
// process, which may be PID 1 (rule R16).
func (c *Client) do(j *job, p *peer, ind *indication) (lived time.Duration, err error) {
	defer c.letGo(j)
	defer func() {
		if bug := recover(); bug != nil {
			c.log.Error("link ended by a bug", "domain", p.id, "bug", bug, "stack", string(debug.Stack()))
			err = &link.Error{Cause: link.Broken, Peer: p.id, Err: fmt.Errorf("%w: %v", errBug, bug)}
			c.salvage(j, p, err)
		}
	}()
	var l *link.Link
	if ind != nil {
		l, err = c.accept(j, p, ind)
	} else {
		l, err = c.offer(j, p)
	}
	if l != nil {
		lived, err = c.serve(j, p, l)
	}
	return lived, err
}

// salvage gives back what a job holds that a bug has ended, and answers what it has
// not answered.
func (c *Client) salvage(j *job, p *peer, err error) {
	if j.offer != nil {
		c.release(j.offer, err)
	}
	if j.link != nil {
		j.link.End(link.Broken, err)
		if cerr := j.link.Close(); cerr != nil {
			c.log.Warn("take link down", "domain", p.id, "error", cerr)
		}
	}
	if j.ind != nil {
		c.refuse(j.ind, err)
	}
}

// begin returns p's job, and the indication that it is for, if it is for one: that
// comes before a wish of our own, for the other side has offered already.
func (c *Client) begin(p *peer) (*job, *indication) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ind := p.ind
	p.ind = nil
	if ind != nil {
		p.state, p.job.ind, p.job.bound = accepting, ind, true
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
	case c.over != nil:
		p.settle(c.over)
	case !made && !keepsTrying(err):
		p.settle(failure(err))
	}
	c.confirm(p)
	if c.over == nil && (p.ind != nil || p.attempt != nil) {
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
	var verdict *verdictError
	return errors.As(err, &verdict)
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

// hold counts one more link, which this side asks for or the other, if there may be
// one more (rule R7). The caller holds mu.
func (c *Client) hold(j *job, ask bool) error {
	switch {
	case c.holding >= port1.MaxLinks:
		return fmt.Errorf("%w: there are %d links, the most allowed", errLocal, c.holding)
	case ask && c.asked >= c.cfg.MaxLinks:
		return fmt.Errorf("%w: there are %d links from here, the most allowed", errLocal, c.asked)
	}
	c.holding++
	if ask {
		c.asked++
	}
	j.held, j.asked = true, ask
	return nil
}

// letGo takes hold back, if there was one.
func (c *Client) letGo(j *job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j.held {
		c.holding--
	}
	if j.asked {
		c.asked--
	}
}

// newOffer allocates this side's half of a link to p, for j.
func (c *Client) newOffer(j *job, p *peer, rec *record) (*link.Offer, error) {
	opt := c.cfg.Link
	if rec.Ring != 0 {
		opt.RingSize = int(rec.Ring)
	}
	opt.Access = linkAccess(rec.Access)
	o, err := link.NewOffer(c.cfg.Domain, p.id, opt)
	j.offer = o
	return o, localError(err)
}

// bind takes up the other side's half with o.
func (c *Client) bind(p *peer, o *link.Offer, theirs link.Terms) error {
	if err := o.Bind(theirs); err != nil {
		return err
	}
	if err := o.Unmapped(); err != nil {
		c.log.Info("copy what may be mapped", "domain", p.id, "reason", err)
	}
	return nil
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
	j.link = l
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
