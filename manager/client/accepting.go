package client

import (
	"context"
	"errors"
	"net"
	"time"

	"xvsock/link"
	"xvsock/manager/port1"
)

// indication is a CONNECT_ind that has to be answered in its talk.
type indication struct {
	port1.ConnectInd
	talk *talk
}

// errTooSoon says that links to the peer were made too often lately.
var errTooSoon = errors.New("too soon after the last links")

// indicated takes a CONNECT_ind. What must not be is refused here, before anything
// is spent on it; for the rest there is one place a peer, so that a flood costs the
// one that sends it (rule R7). The link that there was is ended first: the other
// side asks for another because it has none.
func (c *Client) indicated(t *talk, m port1.ConnectInd) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[m.Domain]
	if r := c.judge(p, m); r != port1.OK {
		c.log.Debug("refuse a link", "domain", m.Domain, "port", m.Port, "result", r)
		t.send(port1.ConnectAck{ID: m.ID, Result: r})
		return
	}
	p.ind = &indication{ConnectInd: m, talk: t} // one before it has expired by now
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
	case p.state == idle && c.holding >= c.cfg.MaxLinks:
		return port1.Refused
	}
	return port1.OK
}

// accept makes a link as the responder.
func (c *Client) accept(j *job, p *peer, ind *indication) (*link.Link, error) {
	rec, err := c.mayAccept(j, p)
	if err != nil {
		c.refuse(ind, err)
		return nil, &theirsError{err}
	}
	o, err := c.newOffer(p, rec)
	var l *link.Link
	if err != nil {
		c.refuse(ind, err)
		err = &theirsError{err}
	} else {
		l, err = c.answer(j, p, o, ind)
	}
	if err != nil {
		c.letGo()
	}
	return l, err
}

// mayAccept waits until the Ledger lets a link to p be made, if that is soon, and
// holds one then.
func (c *Client) mayAccept(j *job, p *peer) (*record, error) {
	for {
		rec, wait, err := c.tryAccept(p)
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

// tryAccept is one look of mayAccept.
func (c *Client) tryAccept(p *peer) (_ *record, wait time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.rec == nil {
		return nil, 0, errRevoked
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
	if err := c.hold(); err != nil {
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
		err = o.Bind(terms)
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
	c.claim(p, terms.Generation)
	ind.talk.send(port1.ConnectAck{ID: ind.ID, Terms: wireTerms(terms)})
	return nil
}

// refuse sends CONNECT_ack for what came to nothing because of err. One that a newer
// one has taken the place of is not waited for any more.
func (c *Client) refuse(ind *indication, err error) {
	r := port1.Refused
	switch {
	case errors.Is(err, errNewer):
		return
	case errors.Is(err, errRevoked), errors.Is(err, errReplaced):
		r = port1.Denied
	case errors.Is(err, link.ErrForbidden):
		r = port1.Forbidden
	case errors.Is(err, net.ErrClosed):
		r = port1.ShuttingDown
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ind.talk.send(port1.ConnectAck{ID: ind.ID, Result: r})
}

// linkTerms and wireTerms are the same, as package link and as port 1 says them.
func linkTerms(t port1.Terms) link.Terms {
	return link.Terms{Generation: t.Generation, Header: t.Header, Port: t.Events}
}

func wireTerms(t link.Terms) port1.Terms {
	return port1.Terms{Generation: t.Generation, Header: t.Header, Events: t.Port, Access: port1.AccessCopy}
}
