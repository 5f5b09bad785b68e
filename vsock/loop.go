package vsock

import (
	"xvsock/link"
	"xvsock/mux"
)

// loop is the link of this domain to itself: connections are made at one end of
// it and accepted at the other.
type loop struct{ dialing, accepting *session }

// loopSession returns the end of the loop that dials; the first call makes it, and the
// first after it has ended. The caller holds mu.
func (s *Stack) loopSession() (*session, error) {
	if s.loop != nil && s.loop.dialing.link.Err() == nil {
		return s.loop.dialing, nil
	}
	a, b, err := link.Loop(s.Self(), link.Options{Log: s.cfg.Log})
	if err != nil {
		return nil, err
	}
	lp := &loop{dialing: s.newLoopEnd(a), accepting: s.newLoopEnd(b)}
	s.loop = lp
	for _, ses := range []*session{lp.dialing, lp.accepting} {
		s.loops.Go(func() {
			ses.Run()
			s.dropLoop(lp)
			ses.link.Close()
		})
	}
	return lp.dialing, nil
}

// newLoopEnd makes the session of one end of the loop. No Guard is asked about its
// connections. Both ends are this domain's own, but each books its half of them.
func (s *Stack) newLoopEnd(l *link.Link) *session {
	ses := &session{link: l}
	ses.Session = mux.NewSession(transport{l}, s.muxConfig(ses, mux.NewBudget(s.cfg.PeerMemory, s.budget)))
	return ses
}

// dropLoop forgets a loop that has ended, so that the next Dial makes another.
func (s *Stack) dropLoop(lp *loop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loop == lp {
		s.loop = nil
	}
}
