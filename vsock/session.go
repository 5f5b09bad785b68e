package vsock

import (
	"errors"

	"xvsock/link"
	"xvsock/mux"
	"xvsock/xen"
)

// session is the connections over one link.
type session struct {
	*mux.Session
	link *link.Link
	kind Kind
}

// newSession makes the session of l, a link to another domain.
func (s *Stack) newSession(l *link.Link, kind Kind) *session {
	ses := &session{link: l, kind: kind}
	cfg := s.muxConfig(ses, s.budgetOf(l.Peer()))
	if s.cfg.Guard != nil {
		cfg.Permit = func(local, remote uint32, incoming bool) (mux.Permit, mux.Reason) {
			return s.admit(ses, local, remote, incoming)
		}
	}
	if kind == ToPeer {
		cfg.Idle = s.cfg.Idle
	} else {
		cfg.Standing = PortManager
	}
	ses.Session = mux.NewSession(transport{l}, cfg)
	return ses
}

// muxConfig is what the sessions of all links have in common. What connections
// receive they hold in budget.
func (s *Stack) muxConfig(ses *session, budget *mux.Budget) mux.Config {
	return mux.Config{
		Route:    func(local, _ uint32) mux.Route { return s.route(ses, local) },
		Budget:   budget,
		MaxConns: s.cfg.MaxConns,
		Log:      s.cfg.Log.With("domain", ses.link.Peer()),
	}
}

// request is a connection of ses as a Guard is asked about it.
func (ses *session) request(local, remote uint32, incoming bool) Request {
	return Request{
		Peer: ses.link.Peer(), Serial: ses.link.Serial(), Kind: ses.kind,
		Incoming: incoming, Local: local, Remote: remote,
	}
}

// settled reports that the other side has taken all there will ever be: no
// connection is open any more and everything in the ring was read, or the link
// has ended.
func (ses *session) settled() bool {
	select {
	case <-ses.link.Done():
		return true
	default:
		return ses.Stats().Open == 0 && ses.link.Taken()
	}
}

// budgetOf returns the receive memory of a domain. It outlives the domain's
// links: what connections of an earlier link hold unread counts too, or a domain
// that keeps re-making its link could fill the daemon's memory past its share
// (rule R7). The caller holds mu.
func (s *Stack) budgetOf(peer xen.DomID) *mux.Budget {
	for id, b := range s.budgets {
		if b.Used() == 0 && s.sessions[id] == nil {
			delete(s.budgets, id)
		}
	}
	b := s.budgets[peer]
	if b == nil {
		b = mux.NewBudget(s.cfg.PeerMemory, s.budget)
		s.budgets[peer] = b
	}
	return b
}

// transport is a link as mux wants it: what mux found wrong gets its cause here,
// where both are known.
type transport struct{ *link.Link }

// Fail implements mux.Transport.
func (t transport) Fail(reason error) {
	var lie *mux.ProtocolError
	switch {
	case errors.As(reason, &lie), errors.Is(reason, mux.ErrBug):
		// A peer that found a bug of ours is not to find it again at once.
		t.End(link.Broken, reason)
	case errors.Is(reason, mux.ErrSilent):
		t.End(link.Silent, reason)
	default:
		t.End(link.Closed, reason)
	}
}
