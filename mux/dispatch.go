package mux

import "time"

// dispatch gives a frame to the owner of its tuple. A frame for no tuple is
// answered with RST, but for RST, which is answered by nothing.
func (s *Session) dispatch(h header, a, b []byte) {
	k := tuple{local: h.dst, remote: h.src}
	if o := s.table.get(k); o != nil {
		o.frame(h, a, b)
		return
	}
	switch h.op {
	case opReset:
		s.strays.Add(1)
	case opRequest:
		if r, ok := s.accept(h, k); !ok {
			s.refuse(h, r)
		}
	default:
		s.strays.Add(1)
		s.refuse(h, ReasonNone)
	}
}

// refuse answers a frame of no tuple.
func (s *Session) refuse(h header, r Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tx.resets.push(stray{local: h.dst, remote: h.src, typ: h.typ, reason: r})
}

// accept makes a connection of REQUEST, or returns why not. SEQPACKET has no
// meaning for a stream's owner. Only the pump makes incoming tuples, so none
// can take this one between the look and the entry but a Dial.
func (s *Session) accept(h header, k tuple) (Reason, bool) {
	if h.typ != typeStream || !validPort(k.local) || !validPort(k.remote) {
		return ReasonRefused, false
	}
	acceptor, r := s.cfg.Route(k.local, k.remote)
	if acceptor == nil {
		return r, false
	}
	c, r := s.incoming(h, k)
	if c == nil {
		return r, false
	}
	taken := acceptor.Offer(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !taken {
		c.gone()
		return ReasonRefused, false
	}
	c.release()
	return 0, true
}

// incoming makes the tuple of REQUEST.
func (s *Session) incoming(h header, k tuple) (*Conn, Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return nil, ReasonShuttingDown
	case s.table.get(k) != nil:
		return nil, ReasonNone
	case s.table.len() >= s.cfg.MaxConns:
		return nil, ReasonBudget
	}
	c := newConn(s, k, true)
	if c == nil {
		return nil, ReasonBudget
	}
	c.credit.learn(h.bufAlloc, 0, 0)
	c.establish()
	s.enter(c)
	return c, 0
}

// frame implements owner. It runs in the pump.
func (c *Conn) frame(h header, a, b []byte) {
	switch {
	case h.op == opReset:
		c.withLock(func() { c.resetByPeer(Reason(h.flags)) })
		return
	case h.typ != typeStream:
		c.lied("a SEQPACKET frame on a STREAM connection")
		return
	case h.op == opRequest:
		c.lied("REQUEST on a taken tuple")
		return
	case !c.credit.learn(h.bufAlloc, h.fwdCnt, c.sent.Load()):
		c.lied("more acknowledged than sent")
		return
	}
	if h.op == opData {
		if wrong := c.recv.fill(a, b); wrong != "" {
			c.lied(wrong)
			return
		}
	} else {
		c.control(h)
	}
	if c.starved.Load() {
		c.withLock(c.feed)
	}
}

// control takes a frame that is about the state of the connection.
func (c *Conn) control(h header) {
	wrong := ""
	c.withLock(func() {
		switch {
		case c.state >= resetting:
			// RST is on its way; this was too.
		case (c.state == dialing) != (h.op == opResponse):
			wrong = "a frame out of order"
		case h.op == opResponse:
			c.establish()
		case h.op == opShutdown:
			c.shutPeer(h.flags)
		case h.op == opCreditRequest:
			c.want(pendCreditUpdate)
		}
	})
	if wrong != "" {
		c.lied(wrong)
	}
}

// lied ends the connection because of a frame no honest side sends.
func (c *Conn) lied(why string) {
	lost := false
	c.withLock(func() {
		if lost = c.state < resetting; lost {
			c.reset(ReasonProtocol)
		}
	})
	if lost {
		c.s.logLie(c.key, why)
	}
}

// logLie counts a connection lost to a lie and logs it, at most once a second:
// the other side must not fill the log either.
func (s *Session) logLie(k tuple, why string) {
	n := s.lies.Add(1)
	now := time.Now()
	if now.Sub(s.lieLogged) < time.Second {
		return
	}
	s.lieLogged = now
	s.cfg.Log.Warn("connection broke the protocol", "why", why, "local", k.local, "remote", k.remote, "lost", n)
}

// withLock runs f under Session.mu. What it makes sendable the pump sends at
// the end of its batch.
func (c *Conn) withLock(f func()) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	f()
}
