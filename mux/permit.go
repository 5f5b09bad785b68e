package mux

import "errors"

// Permit is what a connection stands under: a rule that allows it, and what it
// counts against there. It is held for as long as the tuple is in the table, in
// every state of the connection.
type Permit interface {
	// Release gives the permit up. It is called exactly once, when the tuple is
	// gone or could not be made. Session.mu is held: it must not block and must
	// not call the session.
	Release()
}

// pass is a permit that no tuple stands under yet.
type pass struct {
	permit  Permit // nil: nothing to release
	reviews uint64 // Session.reviews before it was asked for
}

// errReviewed says that a Review came between the permit and the tuple: the
// question has to be asked again.
var errReviewed = errors.New("reviewed meanwhile")

// permit asks whether a connection may be. It is called without a lock.
func (s *Session) permit(k tuple, incoming bool) (pass, Reason) {
	p := pass{reviews: s.reviews.Load()}
	if s.cfg.Permit == nil {
		return p, ReasonNone
	}
	var r Reason
	p.permit, r = s.cfg.Permit(k.local, k.remote, incoming)
	return p, r
}

// release gives up a permit that no tuple came to stand under. The caller holds
// Session.mu.
func (p pass) release() {
	if p.permit != nil {
		p.permit.Release()
	}
}

// Review asks f about every connection, with the permit p that it stands under,
// and returns how many it ended. f returns ReasonNone and the permit under which
// the connection goes on: p, or another that replaces it, and then f has released
// p. Or f returns why the connection ends: both ends get RST with that reason,
// and p is released with the tuple. Connections that have been reset already are
// not asked about.
//
// f runs under Session.mu: it must not block and must not call the session. A
// connection that was permitted before the Review, but is made after it, is asked
// for again with Config.Permit: whoever changes what Config.Permit answers, and
// then calls Review, leaves none behind that stands under an old answer.
func (s *Session) Review(f func(local, remote uint32, incoming bool, p Permit) (Permit, Reason)) (ended int) {
	s.locked(func() {
		s.reviews.Add(1)
		for k, e := range s.table.all() {
			i := e.info()
			if i.State == resetting.String() {
				continue
			}
			p, r := f(i.Local, i.Remote, i.Incoming, e.permit)
			if r != ReasonNone {
				e.reset(r)
				ended++
			} else {
				s.table.put(k, entry{owner: e.owner, permit: p})
			}
		}
	})
	return ended
}

// Reset is a Review that ends the connections that match, for a reason other
// than ReasonNone, and leaves the others as they are. match must not call the
// session.
func (s *Session) Reset(match func(local, remote uint32, incoming bool) bool, r Reason) int {
	return s.Review(func(local, remote uint32, incoming bool, p Permit) (Permit, Reason) {
		if match(local, remote, incoming) {
			return nil, r
		}
		return p, ReasonNone
	})
}
