package client

import "xvsock/manager/port1"

// maxOwed bounds the PEERs for one domain that wait to be confirmed until its link
// has ended, which takes no longer than a few system calls.
const maxOwed = 64

// revoked is a peer with which nothing is allowed any more, and what is still to be
// ended: its connections first, so that they end by that reason, and then the job.
type revoked struct {
	p     *peer
	job   *job // nil: nothing
	cause error
}

// revoke takes a peer's record away; from now on the Guard allows nothing. What is
// up yet is for enforce to end. The caller holds mu.
func (c *Client) revoke(p *peer, cause error) revoked {
	p.was, p.rec, p.admits = p.rec, nil, 0
	p.settle(failure(cause))
	if p.ind != nil {
		p.ind.reply(port1.ConnectAck{Result: port1.Denied})
		p.ind = nil
	}
	if p.job != nil && p.state != up {
		p.job.stop(cause)
	}
	c.forgetIfIdle(p)
	return revoked{p, p.job, cause}
}

// enforce ends the connections and then the links of peers that were revoked. It
// waits for no one; a link is down when its job has ended.
func (c *Client) enforce(gone []revoked) {
	if len(gone) > 0 {
		c.cfg.Changed()
	}
	for _, g := range gone {
		c.stackNow().Review(g.p.id)
		if g.job != nil {
			g.job.stop(g.cause)
		}
	}
}

// told takes a PEER. It is confirmed once nothing goes on that it forbids: the
// connections are reset then, and the link, if it had to end, is down.
//
// A PEER of this domain itself is a lie. One of the backend's domain is confirmed and
// otherwise nothing: connections there go over the front link, and the backend
// decides about them.
func (c *Client) told(t *talk, m port1.Peer) error {
	if m.Domain == c.cfg.Domain.ID() {
		return &lieError{port1.TypePeer, "of this domain itself"}
	}
	if m.Domain == t.front.Peer() || len(m.In)+len(m.Out) == 0 {
		m = port1.Peer{ID: m.ID, Domain: m.Domain, Gone: true}
	}
	g, err := c.learn(t, m)
	if err != nil {
		return err
	}
	c.cfg.Changed()
	t.stack.Review(m.Domain)
	if g.job != nil {
		g.job.stop(g.cause)
	}
	return c.acknowledge(t, g, m.ID)
}

// learn puts m in the place of what was known of that domain, and returns what has to
// be ended therefore.
func (c *Client) learn(t *talk, m port1.Peer) (g revoked, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[m.Domain]
	if p == nil && len(c.peers) >= maxRecords {
		for _, idle := range c.peers {
			c.forgetIfIdle(idle)
		}
	}
	switch {
	case p == nil && m.Gone:
		return revoked{}, nil
	case p == nil && len(c.peers) >= maxRecords:
		return revoked{}, &lieError{port1.TypePeer, "of more domains than there may be"}
	case p == nil:
		p = &peer{id: m.Domain, wake: make(chan struct{}, 1)}
		c.peers[m.Domain] = p
	case m.Gone && p.rec == nil:
		return revoked{p, p.job, errRevoked}, nil
	case m.Gone:
		return c.revoke(p, errRevoked), nil
	case p.rec == nil:
		g = revoked{p, p.job, errReplaced}
	case !p.rec.same(m):
		g = c.revoke(p, errReplaced)
		c.peers[p.id] = p
	}
	if p.rec == nil && p.was != nil && !p.was.same(m) {
		p.spacing = spacing{} // another domain inherits nothing
	}
	p.rec = &record{Peer: m, talk: t}
	if len(m.Out) == 0 {
		p.settle(errUnreachable)
	}
	return g, nil
}

// acknowledge confirms a PEER, now or when the job that it ended is over.
func (c *Client) acknowledge(t *talk, g revoked, id uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.job == nil || g.p.job != g.job {
		t.send(port1.PeerAck{ID: id})
		return nil
	}
	if len(g.p.owed) >= maxOwed {
		return &lieError{port1.TypePeer, "of one domain faster than it can be obeyed"}
	}
	g.p.owed = append(g.p.owed, id)
	return nil
}

// confirm sends the PEER_acks that waited for the end of p's job. The caller holds
// mu.
func (c *Client) confirm(p *peer) {
	for _, id := range p.owed {
		c.talk.send(port1.PeerAck{ID: id}) // those of an earlier talk were dropped with it
	}
	p.owed = nil
}

// listed takes the manager's HELLO: what it has not told of in this conversation is
// not allowed any more.
func (c *Client) listed(t *talk, m port1.Hello) error {
	gone, err := c.unlisted(t, m)
	c.enforce(gone)
	return err
}

// unlisted is listed, but for what is still to be ended.
func (c *Client) unlisted(t *talk, m port1.Hello) ([]revoked, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case t.listed:
		return nil, &lieError{port1.TypeHello, "a second time"}
	case m.ID != t.hello || len(m.Links) > 0:
		return nil, &lieError{port1.TypeHello, "that answers none of ours"}
	}
	t.listed = true
	t.timer.Stop()
	return c.revokeAll(t, errRevoked), nil
}

// revokeAll revokes every record that was not told in t; nil: every record. The
// caller holds mu.
func (c *Client) revokeAll(t *talk, cause error) (gone []revoked) {
	for _, p := range c.peers {
		if p.rec != nil && (t == nil || p.rec.talk != t) {
			gone = append(gone, c.revoke(p, cause))
		}
	}
	return gone
}

// Forget gives up all that the manager has told, and with it all links to other
// domains: their connections are reset before it returns, and the links are down a
// moment later. It is for a domain that the toolstack has detached, for which no
// manager speaks any more. While there is only none to be heard everything stays.
func (c *Client) Forget() {
	c.mu.Lock()
	gone := c.revokeAll(nil, errDetached)
	c.mu.Unlock()
	c.enforce(gone)
}

// responded takes a CONNECT_rsp.
func (c *Client) responded(t *talk, m port1.ConnectRsp) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := t.reqs[m.ID]
	if r == nil {
		return &lieError{port1.TypeConnectRsp, "that answers nothing"}
	}
	delete(t.reqs, m.ID)
	c.answered(r, &m)
	t.sayHello()
	return nil
}
