package client

import (
	"context"
	"errors"
	"time"

	"xvsock/link"
	"xvsock/manager/port1"
)

// request is one CONNECT_req, until it is answered or its talk is over. Client.mu
// guards it.
type request struct {
	p     *peer
	timer *time.Timer       // ends the front link
	over  bool              // answered, or the talk has ended
	rsp   *port1.ConnectRsp // nil if the talk has ended
}

// errNoAnswer ends the front link of a manager that does not answer.
var errNoAnswer = errors.New("the manager does not answer")

// offer makes a link as the initiator, or as the responder of a request that has
// crossed ours.
func (c *Client) offer(j *job, p *peer) (*link.Link, error) {
	rec, err := c.ready(j, p)
	if err != nil {
		return nil, err
	}
	return c.initiate(j, p, rec)
}

// ready waits until a link may be offered to p, and holds one then. It returns the
// record under which.
func (c *Client) ready(j *job, p *peer) (*record, error) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		rec, wait, err := c.tryReady(j, p)
		if rec != nil || err != nil {
			return rec, err
		}
		timer.Reset(wait)
		select {
		case <-p.wake:
		case <-timer.C:
		case <-j.ctx.Done():
			return nil, context.Cause(j.ctx)
		}
	}
}

// tryReady is one look of ready. Without a record or an error it returns how long
// to wait at most before the next.
func (c *Client) tryReady(j *job, p *peer) (_ *record, wait time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	switch {
	case p.ind != nil:
		return nil, 0, errNewer // for the next job
	case p.attempt == nil:
		return nil, 0, errNobodyAsks
	case p.rec == nil:
		return nil, 0, errRevoked
	case now.Before(p.until):
		return nil, 0, brokenError(p)
	case c.talk == nil || p.req != nil:
		return nil, time.Hour, nil
	case now.Before(p.earliest):
		return nil, p.earliest.Sub(now), nil
	}
	if wait, err = p.admit(c.cfg.Link.Ledger, p.id); err != nil {
		return nil, 0, localError(err)
	}
	if wait > 0 {
		return nil, wait, nil
	}
	if err := c.hold(j, true); err != nil {
		return nil, 0, err
	}
	p.admitted = false
	p.state = offering
	return p.rec, 0, nil
}

// initiate offers a link and takes up what comes of it.
func (c *Client) initiate(j *job, p *peer, rec *record) (*link.Link, error) {
	o, err := c.newOffer(j, p, rec)
	if err != nil {
		return nil, err
	}
	r, err := c.request(j, p, o.Terms())
	if err != nil {
		return nil, c.release(o, err)
	}
	rsp, ind, err := c.await(j, p, r)
	switch {
	case err != nil:
		return nil, c.release(o, err)
	case ind != nil:
		return c.answer(j, p, o, ind)
	}
	if err := resultError(rsp.Result); err != nil {
		return nil, c.release(o, err)
	}
	if err := c.bind(p, o, linkTerms(rsp.Terms)); err != nil {
		return nil, c.release(o, err)
	}
	return c.complete(j, o)
}

// request sends CONNECT_req, unless the other side's own has come meanwhile, which
// is answered with the same offer: then it returns nil.
func (c *Client) request(j *job, p *peer, terms link.Terms) (*request, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.talk
	switch {
	case j.ctx.Err() != nil:
		return nil, context.Cause(j.ctx)
	case p.ind != nil:
		return nil, nil
	case p.attempt == nil:
		return nil, errNobodyAsks
	case p.rec == nil:
		return nil, errRevoked
	case t == nil:
		return nil, errTalkEnded
	}
	t.sayHello() // before the manager hears of a link that is not in it
	r := &request{p: p}
	r.timer = time.AfterFunc(answerTimeout, func() { t.front.End(link.Lost, errNoAnswer) })
	m := port1.ConnectReq{
		ID: c.nextID(), Domain: p.id, Attachment: p.rec.Attachment, Port: p.attempt.port, Terms: wireTerms(terms),
	}
	p.req, t.reqs[m.ID] = r, r
	t.send(m)
	return r, nil
}

// await waits for the answer to r, or for an indication that has crossed it.
func (c *Client) await(j *job, p *peer, r *request) (*port1.ConnectRsp, *indication, error) {
	for {
		rsp, ind, err := c.look(j, p, r)
		if rsp != nil || ind != nil || err != nil {
			return rsp, ind, err
		}
		select {
		case <-p.wake:
		case <-j.ctx.Done():
			return nil, nil, context.Cause(j.ctx)
		}
	}
}

// look is one look of await. What it returns leaves no way back to answer another
// indication with the same offer. One that comes after the answer, but for CROSSED,
// has not crossed the request: the offer belonged to that, and goes with it.
func (c *Client) look(j *job, p *peer, r *request) (*port1.ConnectRsp, *indication, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch ind := p.ind; {
	case j.ctx.Err() != nil:
		return nil, nil, context.Cause(j.ctx)
	case ind != nil && r.crossedBy():
		p.ind, p.state, j.ind, j.bound = nil, accepting, ind, true
		return nil, ind, nil
	case ind != nil:
		return nil, nil, errNewer
	case r == nil, r.over && r.rsp == nil:
		return nil, nil, errTalkEnded
	case !r.over:
		return nil, nil, nil
	}
	if j.bound = true; r.rsp.Result == port1.OK {
		p.state = accepting
		c.claim(p, r.rsp.Terms.Generation)
	}
	return r.rsp, nil, nil
}

// crossedBy reports whether an indication that is there crosses r, which is nil if it
// was not sent.
func (r *request) crossedBy() bool {
	return r == nil || !r.over || r.rsp != nil && r.rsp.Result == port1.Crossed
}

// answered takes the answer to a request of this talk. One that was crossed is over,
// whatever the answer: its offer went into the other link. The caller holds mu.
func (c *Client) answered(r *request, rsp *port1.ConnectRsp) {
	r.timer.Stop()
	r.over, r.rsp = true, rsp
	if rsp != nil && rsp.Result == port1.OK {
		// The manager believes in the link now, and is told what came of it.
		c.linksChanged()
		c.talk.due = false
	}
	if r.p.req == r {
		r.p.req = nil
	}
	r.p.poke()
	c.forgetIfIdle(r.p)
}
