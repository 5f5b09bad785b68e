package mux

import (
	"errors"
	"syscall"
	"time"
)

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
// meaning for a stream's owner. Who has no permit does not learn whether anybody
// listens.
func (s *Session) accept(h header, k tuple) (Reason, bool) {
	if h.typ != typeStream || !validPort(k.local) || !validPort(k.remote) {
		return ReasonRefused, false
	}
	for {
		p, r := s.permit(k, true)
		if r != ReasonNone {
			return r, false
		}
		acceptor, r := s.cfg.Route(k.local, k.remote)
		if acceptor == nil {
			s.withLock(p.release)
			return r, false
		}
		c, err := s.incoming(h, k, p)
		switch {
		case errors.Is(err, errReviewed):
		case err != nil:
			return refusal(err), false
		default:
			return s.offer(c, acceptor)
		}
	}
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

// offer gives an incoming connection to who listens.
func (s *Session) offer(c *Conn, to Acceptor) (Reason, bool) {
	taken := to.Offer(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !taken {
		c.gone()
		return ReasonRefused, false
	}
	c.release()
	return ReasonNone, true
}

// refusal is what the other side hears when a tuple could not be entered.
func refusal(err error) Reason {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return ReasonNone
	case errors.Is(err, syscall.ENOBUFS):
		return ReasonBudget
	default:
		return ReasonShuttingDown
	}
}

// frame implements owner. It runs in the pump.
func (c *Conn) frame(h header, a, b []byte) {
	switch {
	case h.op == opReset:
		c.s.withLock(func() { c.resetByPeer(Reason(h.flags)) })
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
		c.s.withLock(c.feed)
	}
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
