package mux

import (
	"errors"
	"syscall"
	"time"
)

// dispatch gives a frame to the owner of its tuple, and returns false if the frame
// has to stay in the ring. A frame for no tuple is answered with RST, but for RST,
// which is answered by nothing.
func (s *Session) dispatch(h header, a, b []byte) bool {
	k := tuple{local: h.dst, remote: h.src}
	if o := s.table.get(k); o != nil {
		return o.frame(h, a, b)
	}
	switch h.op {
	case opReset:
		s.strays.Add(1)
	case opRequest:
		return s.requested(h, k)
	default:
		s.strays.Add(1)
		s.refuse(h, ReasonNone)
	}
	return true
}

// requested makes a connection of REQUEST, or refuses it; false: the REQUEST has to
// stay in the ring.
func (s *Session) requested(h header, k tuple) bool {
	t, r, ok := s.accept(h, k)
	switch {
	case !ok:
		s.refuse(h, r)
	case t != nil:
		h.fwdCnt = 0 // nothing was sent yet
		return s.deliver(t, h, nil, nil)
	}
	return true
}

// refuse answers a frame of no tuple.
func (s *Session) refuse(h header, r Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tx.resets.push(stray{local: h.dst, remote: h.src, typ: h.typ, reason: r})
}

// accept makes the tuple of REQUEST, or returns why not: a Conn that was taken, or a
// relayed one, whose Relay is to have the REQUEST. Who has no permit does not learn
// whether anybody listens.
func (s *Session) accept(h header, k tuple) (*relayed, Reason, bool) {
	if !ValidPort(k.local) || !ValidPort(k.remote) {
		return nil, ReasonRefused, false
	}
	for {
		p, r := s.permit(k, true)
		if r != ReasonNone {
			return nil, r, false
		}
		t, err := s.give(h, k, p, s.route(h, k))
		if !errors.Is(err, errReviewed) {
			return t, refusal(err), err == nil
		}
	}
}

// route asks the switch. SEQPACKET has no meaning for a stream's owner.
func (s *Session) route(h header, k tuple) Route {
	to := s.cfg.Route(k.local, k.remote)
	if h.typ != typeStream && to.Acceptor != nil {
		to.Acceptor, to.Reason = nil, ReasonRefused
	}
	if to.Reason == ReasonNone {
		to.Reason = ReasonRefused
	}
	return to
}

// give makes a tuple of REQUEST for who is to have it, relayed or not. It returns
// errReviewed if the permit has to be asked for again, or what refusal knows.
func (s *Session) give(h header, k tuple, p pass, to Route) (*relayed, error) {
	switch {
	case to.Acceptor != nil:
		c, err := s.incoming(h, k, p)
		if err != nil {
			return nil, err
		}
		return s.offer(c, h, to)
	case to.Relay != nil:
		return s.incomingRelayed(h, k, p, to.Relay)
	}
	s.withLock(p.release)
	return nil, &ResetError{Reason: to.Reason}
}

// incoming makes the tuple of REQUEST. Only the pump makes incoming tuples, so
// none can have taken this one since the look but a Dial.
func (s *Session) incoming(h header, k tuple, p pass) (*Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.enter(k, p, true)
	if err != nil {
		return nil, err
	}
	c.credit.learn(h.bufAlloc, 0, 0)
	c.establish()
	return c, nil
}

// maxUnanswered bounds the REQUESTs of the other side that were given to Relays and not
// answered yet, so that they leave room in the table for others.
func (s *Session) maxUnanswered() int { return max(s.cfg.MaxConns/2, 1) }

// incomingRelayed makes the tuple of REQUEST for a Relay.
func (s *Session) incomingRelayed(h header, k tuple, p pass, r Relay) (*relayed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admissible(k, p); err != nil {
		return nil, err
	}
	if s.unanswered >= s.maxUnanswered() {
		p.release()
		return nil, syscall.ENOBUFS
	}
	t := newRelayed(s, r, k, h.typ, true)
	s.seat(k, t, p, true)
	return t, nil
}

// offer gives an incoming connection to who listens. If nobody there takes it, its
// tuple goes to the Relay with all that it stands under: there is no moment at which
// a Review misses it, or the tuple is free.
func (s *Session) offer(c *Conn, h header, to Route) (*relayed, error) {
	taken := to.Acceptor.Offer(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case taken:
		c.release()
		return nil, nil
	case to.Relay == nil || c.state >= resetting: // revoked meanwhile
		c.gone()
		return nil, &ResetError{Reason: ReasonRefused}
	case s.unanswered >= s.maxUnanswered():
		c.gone()
		return nil, syscall.ENOBUFS
	}
	c.detach()
	t := newRelayed(s, to.Relay, c.key, h.typ, true)
	s.table.pass(c.key, t)
	return t, nil
}

// refusal is what the other side hears when a tuple could not be entered, or nobody
// takes it.
func refusal(err error) Reason {
	var reset *ResetError
	switch {
	case errors.As(err, &reset) && reset.Cause == nil:
		return reset.Reason
	case errors.Is(err, syscall.EADDRINUSE):
		return ReasonNone
	case errors.Is(err, syscall.ENOBUFS):
		return ReasonBudget
	default:
		return ReasonShuttingDown
	}
}

// frame implements owner. A Conn has room for all it promised.
func (c *Conn) frame(h header, a, b []byte) bool {
	wrong := ""
	switch {
	case h.op == opReset:
		c.s.withLock(func() { c.resetByPeer(Reason(h.flags)) })
		return true
	case h.typ != typeStream:
		wrong = "a SEQPACKET frame on a STREAM connection"
	case h.op == opRequest:
		wrong = "REQUEST on a taken tuple"
	case !c.credit.learn(h.bufAlloc, h.fwdCnt, c.sent.Load()):
		wrong = "more acknowledged than sent"
	case h.op == opData:
		wrong = c.recv.fill(a, b)
	default:
		c.control(h)
	}
	switch {
	case wrong != "":
		c.lied(wrong)
	case c.starved.Load():
		c.s.withLock(c.feed)
	}
	return true
}

// control takes a frame that is about the state of the connection.
func (c *Conn) control(h header) {
	wrong := ""
	c.s.withLock(func() {
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
	c.s.withLock(func() {
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

// withLock runs f under mu. What it makes sendable is sent by the pump at the end
// of its batch, or by the caller.
func (s *Session) withLock(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}
