package link_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"xvsock/link"
	"xvsock/sim"
)

// bindTime is how long these tests wait for the other side to bind.
const bindTime = 8 * time.Second

// party is a process of a domain that makes peer links.
type party struct {
	t    *testing.T
	home *sim.Domain
	proc *sim.Process
	dom  *link.Domain
	opt  link.Options
}

// newParty starts a process in home.
func newParty(t *testing.T, home *sim.Domain, opt link.Options) *party {
	proc := home.NewProcess()
	return &party{t: t, home: home, proc: proc, opt: opt,
		dom: link.NewDomain(home.ID(), proc.Grants(), proc.Events(), nil)}
}

// guests returns a host and one party in each of two domains.
func guests(t *testing.T, opt1, opt2 link.Options) (h *sim.Host, one, two *party) {
	t.Helper()
	h = sim.NewTest(t)
	one = newParty(t, h.Create(sim.DomainConfig{Name: "one"}), opt1)
	two = newParty(t, h.Create(sim.DomainConfig{Name: "two"}), opt2)
	return h, one, two
}

// holds is how many pages and ports the party's domain has in use, and pages of others.
func (p *party) holds() int { return p.home.Granted() + p.home.Ports() + p.home.Mapped() }

// clean fails the test if one of the parties' domains has anything in use.
func clean(t *testing.T, parties ...*party) {
	t.Helper()
	for _, p := range parties {
		if n := p.holds(); n != 0 {
			t.Errorf("%s still holds %d pages and ports", p.home.Name(), n)
		}
		if n := p.home.Stuck(); n != 0 {
			t.Errorf("%d pages of %s are still mapped by others", n, p.home.Name())
		}
	}
}

// offer makes an offer that is released at the test's end.
func (p *party) offer(to *party) *link.Offer {
	p.t.Helper()
	o, err := link.NewOffer(p.dom, to.dom.ID(), p.opt)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := o.Release(); err != nil {
			p.t.Errorf("release: %v", err)
		}
	})
	return o
}

// ends makes the two offers of a link into its two ends.
func ends(t *testing.T, initiator, responder *link.Offer) (il, rl *link.Link) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bindTime)
	defer cancel()
	if err := errors.Join(
		responder.Adopt(initiator.Terms().Generation),
		responder.Bind(initiator.Terms()),
		initiator.Bind(responder.Terms()),
	); err != nil {
		t.Fatal(err)
	}
	il, err1 := initiator.Link(ctx)
	rl, err2 := responder.Link(ctx)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(il.Close(), rl.Close()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return il, rl
}

// pair makes a peer link between two parties.
func pair(t *testing.T, one, two *party) (a, b *link.Link) {
	t.Helper()
	return ends(t, one.offer(two), two.offer(one))
}

func TestPeerLinkFormsCarriesBytesAndLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		one, two link.Options
		pages    [2]int
		ring     int
	}{
		"default rings": {pages: [2]int{17, 17}, ring: 64 << 10},
		"the initiator's ring is smaller": {
			one:   link.Options{RingSize: 4 << 10},
			pages: [2]int{2, 17}, ring: 4 << 10,
		},
		"the responder's ring is smaller": {
			two:   link.Options{RingSize: 16 << 10},
			pages: [2]int{17, 5}, ring: 16 << 10,
		},
		"one ring larger than the default, as a rule may say": {
			one:   link.Options{RingSize: 1 << 20},
			two:   link.Options{MaxRing: 1 << 20},
			pages: [2]int{257, 17}, ring: 64 << 10,
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachAccess(t, func(t *testing.T, opt link.Options) {
				begin := time.Now()
				c.one.Access, c.two.Access = opt.Access, opt.Access
				_, one, two := guests(t, c.one, c.two)
				a, b := pair(t, one, two)
				if a.Pages() != c.pages[0] || b.Pages() != c.pages[1] {
					t.Errorf("ends grant %d and %d pages, want %v", a.Pages(), b.Pages(), c.pages)
				}
				if a.Generation() != b.Generation() || a.Serial() == b.Serial() {
					t.Errorf("generations %x and %x, serials %x and %x", a.Generation(), b.Generation(), a.Serial(), b.Serial())
				}
				if a.Peer() != two.dom.ID() || b.Peer() != one.dom.ID() || !a.Formed().Equal(begin) {
					t.Errorf("peers %v and %v, formed %v", a.Peer(), b.Peer(), a.Formed())
				}
				for _, l := range []*link.Link{a, b} {
					if l.Ring() != c.ring || l.MaxPayload() != c.ring/4 {
						t.Errorf("ring is %d, payload at most %d, want %d", l.Ring(), l.MaxPayload(), c.ring)
					}
					if l.Access() != opt.Access || l.Mapped() != (opt.Access == link.AccessMap) {
						t.Errorf("the access is %v", l.Access())
					}
				}
				exchange(t, a, b)
				if err := a.Close(); err != nil {
					t.Error(err)
				}
				if err := b.Wait(0); link.CauseOf(err) != link.Lost {
					t.Errorf("the other end: %v, want lost", err)
				}
				if err := b.Close(); err != nil {
					t.Error(err)
				}
				clean(t, one, two)
			})
		})
	}
}

// Requests that cross make one link: one side adopts the generation of the other,
// though it has offered one of its own.
func TestCrossingOffersMakeOneLink(t *testing.T) {
	eachAccess(t, func(t *testing.T, opt link.Options) {
		_, one, two := guests(t, opt, opt)
		a, b := one.offer(two), two.offer(one)
		if a.Terms().Generation == b.Terms().Generation {
			t.Fatal("two offers have one generation")
		}
		before := b.Terms()
		al, bl := ends(t, a, b)
		before.Generation = a.Terms().Generation
		if b.Terms() != before {
			t.Errorf("after Adopt the terms are %+v, want %+v", b.Terms(), before)
		}
		exchange(t, al, bl)
	})
}

// The events that come while a link forms are not lost: who waits on it then
// learns of the bytes that were there first.
func TestBytesSentWhileTheOtherSideStillWaitsAreSeen(t *testing.T) {
	eachAccess(t, func(t *testing.T, opt link.Options) {
		_, one, two := guests(t, opt, opt)
		for range 20 { // whichever event is taken first
			i, r := one.offer(two), two.offer(one)
			if err := errors.Join(r.Adopt(i.Terms().Generation), r.Bind(i.Terms()), i.Bind(r.Terms())); err != nil {
				t.Fatal(err)
			}
			il, err := i.Link(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer il.Close()
			send(t, il, []byte("early"))
			rl, err := r.Link(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer rl.Close()
			begin := time.Now()
			if err := rl.Wait(time.Hour); err != nil || time.Since(begin) != 0 {
				t.Fatalf("Wait returned %v after %v", err, time.Since(begin))
			}
			if got := receive(t, rl, 5); string(got) != "early" {
				t.Fatalf("received %q", got)
			}
		}
	})
}

// A header page is copied once, whole.
func TestBindCopiesTheirHeaderOnce(t *testing.T) {
	eachAccess(t, func(t *testing.T, opt link.Options) {
		_, one, two := guests(t, opt, opt)
		i, r := one.offer(two), two.offer(one)
		before := two.home.Counts()
		if err := errors.Join(r.Adopt(i.Terms().Generation), r.Bind(i.Terms())); err != nil {
			t.Fatal(err)
		}
		c := two.home.Counts().Minus(before)
		if c.Copies != 1 || c.Segments != 1 || c.Binds != 1 || c.Notifies != 1 {
			t.Errorf("Bind cost %+v, want one copy, one bind, one event", c)
		}
	})
}

// A polling end makes a peer link too.
func TestPollingEndsOfAPeerLink(t *testing.T) {
	for _, access := range []link.Access{link.AccessCopy, link.AccessMap} {
		t.Run(access.String(), func(t *testing.T) { pollingEnds(t, access) })
	}
}

func pollingEnds(t *testing.T, access link.Access) {
	_, one, two := guests(t, link.Options{Access: access}, link.Options{Access: access})
	a, b := pair(t, one, two)
	for range 2 { // the first finds what making the link has left
		link.Heat(a)
		if _, err := a.Poll(); err != nil {
			t.Fatal(err)
		}
	}
	if a.Hot() {
		t.Error("after a poll in vain the link is hot still")
	}
	link.Heat(a)
	link.Heat(b)
	exchange(t, a, b)
}
