package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"xvsock/link"
	"xvsock/manager/port1"
)

// indication is a CONNECT_ind that has to be answered in its talk, once: until then
// the manager counts it as one that this domain leaves unanswered. Client.mu guards
// it.
type indication struct {
	port1.ConnectInd
	talk     *talk
	answered bool
}

// reply answers the indication with m, unless that was done. The caller holds
// Client.mu.
func (i *indication) reply(m port1.ConnectAck) {
	if i.answered {
		return
	}
	i.answered = true
	m.ID = i.ID
	i.talk.send(m)
}

// errTooSoon says that links to the peer were made too often lately.
var errTooSoon = errors.New("too soon after the last links")

// verdictError is what judge says against an indication.
type verdictError struct{ result port1.Result }

// Error implements error.
func (e *verdictError) Error() string { return fmt.Sprintf("the request for a link is %v", e.result) }

// indicated takes a CONNECT_ind. What must not be is refused here, before anything
// is spent on it; for the rest there is one place a peer, so that a flood costs the
// one that sends it (rule R7). The link that there was is ended first: the other
// side asks for another because it has none. One that waits already has a newer one
// take its place, and is refused.
func (c *Client) indicated(t *talk, m port1.ConnectInd) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ind := c.peers[m.Domain], &indication{ConnectInd: m, talk: t}
	if r := c.judge(p, m); r != port1.OK {
		c.log.Debug("refuse a link", "domain", m.Domain, "port", m.Port, "result", r)
		ind.reply(port1.ConnectAck{Result: r})
		return
	}
	if p.ind != nil {
		p.ind.reply(port1.ConnectAck{Result: port1.Refused})
	}
	p.ind = ind
	if p.job != nil && p.job.bound {
		p.job.stop(errNewer)
	}
	c.work(p)
}

// judge says whether m may be accepted (rule R9: by the record of this moment). The
// caller holds mu.
func (c *Client) judge(p *peer, m port1.ConnectInd) port1.Result {
	switch {
	case p == nil || p.rec == nil || p.rec.Attachment != m.Attachment || find(p.rec.In, m.Port) == nil:
		return port1.Denied
	case time.Now().Before(p.until):
		return port1.Refused // rule R5
	case p.state == idle && c.holding >= port1.MaxLinks:
		return port1.Refused
	}
	return port1.OK
}

// accept makes a link as the responder.
func (c *Client) accept(j *job, p *peer, ind *indication) (*link.Link, error) {
	rec, err := c.mayAccept(j, p, ind)
	if err != nil {
		c.refuse(ind, err)
		return nil, &theirsError{err}
	}
	o, err := c.newOffer(j, p, rec)
	if err != nil {
		c.refuse(ind, err)
		return nil, &theirsError{err}
	}
	return c.answer(j, p, o, ind)
}

// mayAccept waits until the Ledger lets a link to p be made, if that is soon, and
// holds one then.
func (c *Client) mayAccept(j *job, p *peer, ind *indication) (*record, error) {
	for {
		rec, wait, err := c.tryAccept(j, p, ind)
		if rec != nil || err != nil {
			return rec, err
		}
		select {
		case <-time.After(wait):
		case <-j.ctx.Done():
			return nil, context.Cause(j.ctx)
		}
	}
}

// tryAccept is one look of mayAccept. Since the indication came the link before it
// may have ended BROKEN, and the record may be another (rules R5, R9).
func (c *Client) tryAccept(j *job, p *peer, ind *indication) (_ *record, wait time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.judge(p, ind.ConnectInd); r != port1.OK {
		return nil, 0, &verdictError{r}
	}
	wait, err = p.admit(c.cfg.Link.Ledger, p.id)
	switch {
	case err != nil:
		return nil, 0, localError(err)
	case wait > patience:
		return nil, 0, errTooSoon
	case wait > 0:
		return nil, wait, nil
	}
	if err := c.hold(j, false); err != nil {
		return nil, 0, err
	}
	p.admitted = false
	return p.rec, 0, nil
}

// answer takes up the other side's offer with o, says so, and waits for the other
// side to do the same. o belongs to it.
func (c *Client) answer(j *job, p *peer, o *link.Offer, ind *indication) (*link.Link, error) {
	terms := linkTerms(ind.Terms)
	err := o.Adopt(terms.Generation)
	if err == nil {
		err = c.bind(p, o, terms)
	}
	if err == nil {
		err = c.agree(j, p, ind, o.Terms())
	}
	if err != nil {
		c.refuse(ind, err)
		return nil, &theirsError{c.release(o, err)}
	}
	l, err := c.complete(j, o)
	if err != nil {
		err = &theirsError{err}
	}
	return l, err
}

// agree sends CONNECT_ack, if what it answers still stands.
func (c *Client) agree(j *job, p *peer, ind *indication, terms link.Terms) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j.ctx.Err() != nil {
		return context.Cause(j.ctx)
	}
	if ind.talk != c.talk {
		return errTalkEnded
	}
	if r := c.judge(p, ind.ConnectInd); r != port1.OK {
		return &verdictError{r}
	}
	c.claim(p, terms.Generation)
	ind.reply(port1.ConnectAck{Terms: wireTerms(terms)})
	return nil
}

// refuse sends CONNECT_ack for what came to nothing because of err.
func (c *Client) refuse(ind *indication, err error) {
	r := port1.Refused
	var verdict *verdictError
	switch {
	case errors.As(err, &verdict):
		r = verdict.result
	case errors.Is(err, errRevoked), errors.Is(err, errReplaced):
		r = port1.Denied
	case errors.Is(err, link.ErrForbidden):
		r = port1.Forbidden
	case errors.Is(err, net.ErrClosed):
		r = port1.ShuttingDown
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ind.reply(port1.ConnectAck{Result: r})
}

// linkTerms and wireTerms are the same, as package link and as port 1 says them.
func linkTerms(t port1.Terms) link.Terms {
	return link.Terms{Generation: t.Generation, Header: t.Header, Port: t.Events, Access: linkAccess(t.Access)}
}

func wireTerms(t link.Terms) port1.Terms {
	w := port1.Terms{Generation: t.Generation, Header: t.Header, Events: t.Port, Access: port1.AccessCopy}
	if t.Access == link.AccessMap {
		w.Access = port1.AccessMap
	}
	return w
}

// linkAccess is the access of port 1 as package link says it. What is not map is copy.
func linkAccess(a port1.Access) link.Access {
	if a == port1.AccessMap {
		return link.AccessMap
	}
	return link.AccessCopy
}
