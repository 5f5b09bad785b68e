package link_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"xvsock/link"
)

// The calls of an Offer that make a difference.
const (
	callAdopt = iota
	callBind
	callBindLie // terms that are refused
	callLink
	callLinkAlone // the other side does not bind
	callRelease
	calls
)

// arrows says where a call leads in the drawing over Offer; "" is an error and
// stays.
var arrows = map[string][calls]string{
	"offered":  {callAdopt: "offered", callBind: "bound", callBindLie: "failed", callRelease: "released"},
	"bound":    {callLink: "linked", callLinkAlone: "failed", callRelease: "released"},
	"failed":   {callRelease: "released"},
	"linked":   {callRelease: "linked"},
	"released": {callRelease: "released"},
}

// script is an Offer that is called in some order, and the honest other side.
type script struct {
	t           *testing.T
	one, two    *party
	offer, peer *link.Offer
	state       string
	theyBound   bool
	link        *link.Link
}

// terms are the other side's, whichever generation the link has by now.
func (s *script) terms() link.Terms {
	if s.state == "offered" {
		if err := s.peer.Adopt(s.offer.Terms().Generation); err != nil {
			s.t.Fatal(err)
		}
	}
	return s.peer.Terms()
}

// call makes one call.
func (s *script) call(call int) error {
	switch call {
	case callAdopt:
		return s.offer.Adopt(s.peer.Terms().Generation + 1)
	case callBind:
		return s.offer.Bind(s.terms())
	case callBindLie:
		terms := s.terms()
		terms.Generation++
		return s.offer.Bind(terms)
	case callRelease:
		return s.offer.Release()
	}
	if call == callLink && (s.state == "bound" || s.state == "failed") && !s.theyBound {
		if err := s.peer.Bind(s.offer.Terms()); err != nil {
			s.t.Fatal(err)
		}
		s.theyBound = true
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), bindTime)
	defer cancel()
	l, err := s.offer.Link(ctx)
	if err == nil {
		s.link = l
	}
	return err
}

// step makes one call and holds what happened against arrows.
func (s *script) step(call int) error {
	next := arrows[s.state][call]
	err := s.call(call)
	if (err == nil) != (next != "" && next != "failed") {
		return fmt.Errorf("in state %s: %w", s.state, err)
	}
	if next != "" {
		s.state = next
	}
	if s.state == "released" && s.one.holds() != 0 {
		return fmt.Errorf("released, and holds %d pages and ports", s.one.holds())
	}
	if (s.link != nil) != (s.state == "linked") {
		return fmt.Errorf("in state %s there is a link: %v", s.state, s.link != nil)
	}
	return nil
}

// end gives everything back.
func (s *script) end() error {
	err := errors.Join(s.offer.Release(), s.peer.Release())
	if s.link != nil {
		if s.one.holds() == 0 {
			err = errors.Join(err, errors.New("Release took what is the link's"))
		}
		err = errors.Join(err, s.link.Close())
	}
	return err
}

// Every order of four calls does what the drawing over Offer says, and leaves
// nothing behind.
func TestAnOfferFollowsItsDrawing(t *testing.T) {
	small := link.Options{RingSize: 4 << 10}
	synctest.Test(t, func(t *testing.T) {
		_, one, two := guests(t, small, small)
		for order := range calls * calls * calls * calls {
			s := &script{t: t, one: one, two: two, offer: one.offer(two), peer: two.offer(one), state: "offered"}
			trace := []int{order % calls, order / calls % calls, order / calls / calls % calls, order / calls / calls / calls}
			for n, call := range trace {
				if err := s.step(call); err != nil {
					t.Fatalf("calls %v: call %d: %v", trace, n, err)
				}
			}
			if err := s.end(); err != nil {
				t.Fatalf("calls %v: %v", trace, err)
			}
			clean(t, one, two)
		}
	})
}
