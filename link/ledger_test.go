package link_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"xvsock/link"
	"xvsock/sim"
	"xvsock/xen"
)

// The pages of whatever has ended count against its peer, once. Two times the
// rings of these links are more than a peer may hold.
func TestWhateverEndsIsCharged(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, one, two *party){
		"an offer": func(t *testing.T, one, two *party) {
			o := one.offer(two)
			if err := errors.Join(o.Release(), o.Release()); err != nil {
				t.Error(err)
			}
		},
		"an offer that was refused": func(t *testing.T, one, two *party) {
			o := one.offer(two)
			if err := o.Bind(link.Terms{}); err == nil {
				t.Error("no terms were bound")
			}
			if err := o.Release(); err != nil {
				t.Error(err)
			}
		},
		"a peer link": func(t *testing.T, one, two *party) {
			o := one.offer(two)
			l, other := ends(t, o, two.offer(one))
			if err := errors.Join(o.Release(), l.Close(), l.Close(), o.Release(), other.Close()); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := link.NewLedger()
				_, one, two := guests(t, link.Options{Ledger: g, RingSize: 1 << 20}, link.Options{MaxRing: 1 << 20})
				for n := range 3 {
					end(t, one, two)
					if _, err := g.Admit(two.dom.ID()); err != nil {
						t.Errorf("after %d: %v", n+1, err)
					}
				}
				end(t, one, two)
				if _, err := g.Admit(two.dom.ID()); !errors.Is(err, link.ErrHeld) {
					t.Errorf("after the fourth: %v, want %v", err, link.ErrHeld)
				}
				if _, err := g.Admit(one.dom.ID()); err != nil {
					t.Errorf("another peer: %v", err)
				}
			})
		})
	}
}

// The pages of a front link count like those of any other.
func TestFrontLinksAreCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dom0, guest := host(t)
		g := link.NewLedger()
		b := backend(t, dom0, guest, link.Options{RingSize: 1 << 20})
		for n := range 4 {
			if _, err := g.Admit(0); err != nil {
				t.Errorf("after %d links: %v", n, err)
			}
			f := frontend(t, guest, link.Options{Ledger: g, RingSize: 1 << 20})
			f.link()
			b.link()
			f.stop()
		}
		if _, err := g.Admit(0); !errors.Is(err, link.ErrHeld) {
			t.Errorf("after four links of 513 pages: %v, want %v", err, link.ErrHeld)
		}
		b.stop()
	})
}

// What could not be offered for want of grants or ports is not held against a
// domain that never heard of it, and nothing of it stays.
func TestAnOfferThatCannotBeMadeLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		limits sim.DomainConfig
		want   string
	}{
		"no grants": {sim.DomainConfig{GrantLimit: 200}, "ring"},
		"no ports":  {sim.DomainConfig{EventChannels: 1}, "event channel"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := sim.NewTest(t)
				g := link.NewLedger()
				one := newParty(t, h.Create(c.limits), link.Options{Ledger: g, RingSize: 1 << 20})
				taken, err := one.proc.Events().Unbound(0)
				if err != nil {
					t.Fatal(err)
				}
				defer taken.Close()
				for range 600 { // as many header pages would be too many to hold
					if _, err := link.NewOffer(one.dom, 0, one.opt); err == nil {
						t.Fatal("an offer was made")
					}
				}
				if n := one.holds(); n != 1 {
					t.Errorf("%d pages and ports in use, want 1", n)
				}
				if _, err := g.Admit(0); err != nil {
					t.Errorf("not admitted: %v", err)
				}
			})
		})
	}
}

// A daemon with more than 32 links makes new peer links with smaller rings, unless
// it is told how large.
func TestManyLinksHaveSmallerRings(t *testing.T) {
	g := link.NewLedger()
	_, one, two := guests(t, link.Options{Ledger: g}, link.Options{})
	check := func(when string, opt link.Options, want int) {
		t.Helper()
		one.opt = opt
		o := one.offer(two)
		if got := (one.home.Granted() - 1) * xen.PageSize; got != want {
			t.Errorf("%s: the ring is %d bytes, want %d", when, got, want)
		}
		if err := o.Release(); err != nil {
			t.Error(err)
		}
	}
	auto := link.Options{Ledger: g}
	var last [2]*link.Link
	for n := range 17 {
		a, b, err := link.Loop(1, auto)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		defer b.Close()
		if last = [2]*link.Link{a, b}; n == 15 {
			check("with 32 links", auto, 64<<10)
		}
	}
	check("with 34 links", auto, 16<<10)
	check("with 34 links and a rule", link.Options{Ledger: g, RingSize: 256 << 10}, 256<<10)
	for range 2 { // the second one does nothing
		if err := last[0].Close(); err != nil {
			t.Error(err)
		}
	}
	check("with 33 links", auto, 16<<10)

	// The other side, which has few links, still brings a larger ring.
	one.opt = auto
	a, b := pair(t, one, two)
	if a.Ring() != 16<<10 || b.Ring() != 16<<10 {
		t.Errorf("rings are %d and %d bytes", a.Ring(), b.Ring())
	}
	exchange(t, a, b)
	if err := errors.Join(a.Close(), last[1].Close()); err != nil {
		t.Error(err)
	}
	check("with 32 links again", auto, 64<<10)
}
