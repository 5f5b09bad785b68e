package link_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/grant"
	"xvsock/link"
	"xvsock/ring"
	"xvsock/sim"
)

// mapping are the options of a side that maps if it may.
var mapping = link.Options{Access: link.AccessMap}

// eachAccess runs test for both ways to read, each in a bubble of its own.
func eachAccess(t *testing.T, test func(t *testing.T, opt link.Options)) {
	for _, a := range []link.Access{link.AccessCopy, link.AccessMap} {
		t.Run(a.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, link.Options{Access: a}) })
		})
	}
}

// mortalPair is pair where one's process or domain ends without a word: that end of the
// link is nobody's to close.
func mortalPair(t *testing.T, one, two *party) (a, b *link.Link) {
	t.Helper()
	i, err := link.NewOffer(one.dom, two.dom.ID(), one.opt)
	if err != nil {
		t.Fatal(err)
	}
	r := two.offer(one)
	if err := errors.Join(r.Adopt(i.Terms().Generation), r.Bind(i.Terms()), i.Bind(r.Terms())); err != nil {
		t.Fatal(err)
	}
	a, err1 := i.Link(t.Context())
	b, err2 := r.Link(t.Context())
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// Both sides map only if both want to.
func TestAccessIsWhatBothSidesWant(t *testing.T) {
	for name, c := range map[string]struct{ initiator, responder, want link.Access }{
		"both copy":             {link.AccessCopy, link.AccessCopy, link.AccessCopy},
		"the initiator may map": {link.AccessMap, link.AccessCopy, link.AccessCopy},
		"the responder may map": {link.AccessCopy, link.AccessMap, link.AccessCopy},
		"both may map":          {link.AccessMap, link.AccessMap, link.AccessMap},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, one, two := guests(t, link.Options{Access: c.initiator}, link.Options{Access: c.responder})
				i, r := one.offer(two), two.offer(one)
				if got := i.Terms().Access; got != c.initiator {
					t.Errorf("the initiator asks for %v", got)
				}
				il, rl := ends(t, i, r)
				if i.Terms().Access != c.want || r.Terms().Access != c.want {
					t.Errorf("agreed on %v and %v", i.Terms().Access, r.Terms().Access)
				}
				for _, l := range []*link.Link{il, rl} {
					if l.Access() != c.want {
						t.Errorf("a side reads by %v, want %v", l.Access(), c.want)
					}
				}
				exchange(t, il, rl)
			})
		})
	}
}

// A mapped link costs no copy but the probe, which only Wait makes.
func TestAMappedLinkCopiesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := guests(t, mapping, mapping)
		a, b := pair(t, one, two)
		before := one.home.Counts()
		exchange(t, a, b)
		if c := one.home.Counts().Minus(before); c.Copies != 0 {
			t.Errorf("%d copies", c.Copies)
		}
		if one.home.Mapped() != 17 || two.home.Mapped() != 17 {
			t.Errorf("%d and %d pages are mapped, want 17 each", one.home.Mapped(), two.home.Mapped())
		}
		before = one.home.Counts()
		for range 10 {
			if err := a.Wait(time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if c := one.home.Counts().Minus(before); c.Copies < 8 || c.Copies > 10 {
			t.Errorf("ten seconds of waiting cost %d copies, want one a second", c.Copies)
		}
	})
}

// A side that cannot map copies, and says so; the other side need not know.
func TestASideThatCannotMapCopies(t *testing.T) {
	injected := errors.New("injected")
	for name, c := range map[string]struct {
		fails func(call *sim.Call, one, two *party) bool
		// what each side does then
		initiator, responder link.Access
	}{
		"the responder, the header": {
			func(c *sim.Call, _, two *party) bool { return c.Process == two.proc && c.Pages == 1 },
			link.AccessCopy, link.AccessCopy,
		},
		"the responder, the ring": {
			func(c *sim.Call, _, two *party) bool { return c.Process == two.proc && c.Pages > 1 },
			link.AccessCopy, link.AccessCopy,
		},
		"the initiator, the ring": {
			func(c *sim.Call, one, _ *party) bool { return c.Process == one.proc && c.Pages > 1 },
			link.AccessCopy, link.AccessMap,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, one, two := guests(t, mapping, mapping)
				h.Hook(func(call *sim.Call) error {
					if call.Op == sim.OpMap && c.fails(call, one, two) {
						return injected
					}
					return nil
				})
				i, r := one.offer(two), two.offer(one)
				il, rl := ends(t, i, r)
				h.Hook(nil)
				if il.Access() != c.initiator || rl.Access() != c.responder {
					t.Errorf("the sides read by %v and %v, want %v and %v", il.Access(), rl.Access(), c.initiator, c.responder)
				}
				if !errors.Is(errors.Join(i.Unmapped(), r.Unmapped()), injected) {
					t.Error("nobody says why")
				}
				exchange(t, il, rl)
				if err := errors.Join(il.Close(), rl.Close()); err != nil {
					t.Error(err)
				}
				clean(t, one, two)
			})
		})
	}
}

// No load tells that a domain was destroyed: Xen keeps its pages for who maps them, and
// its state byte stays as it was. The probe tells, and lets the pages go.
func TestTheProbeFindsADomainThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, one, two := guests(t, mapping, mapping)
		b, a := mortalPair(t, two, one)
		exchange(t, a, b)
		id := two.home.ID()
		two.home.Destroy()
		begin := time.Now()
		err := a.Wait(time.Second)
		for err == nil && time.Since(begin) < time.Minute {
			err = a.Wait(time.Second)
		}
		if link.CauseOf(err) != link.Lost || !errors.Is(err, grant.StatusBadDomain) || time.Since(begin) > 2*time.Second {
			t.Errorf("Wait returned %v after %v, want lost within 2 s", err, time.Since(begin))
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		clean(t, one)
		if h.Create(sim.DomainConfig{ID: id}).ID() != id {
			t.Error("the dead domain's id is not free")
		}
	})
}

// Programs that write now and then wake the pump before it has slept for a second. The
// probe comes all the same.
func TestTheProbeDoesNotWaitForAQuietSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := guests(t, mapping, mapping)
		b, a := mortalPair(t, two, one)
		exchange(t, a, b)
		two.home.Destroy()
		begin := time.Now()
		var err error
		for err == nil && time.Since(begin) < time.Minute {
			time.AfterFunc(100*time.Millisecond, a.Wake)
			err = a.Wait(time.Second)
		}
		if !errors.Is(err, grant.StatusBadDomain) || time.Since(begin) > 2*time.Second {
			t.Errorf("Wait returned %v after %v", err, time.Since(begin))
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A copy that says success and did nothing (XSA-318) does not pass for a sign of life.
func TestAProbeThatCopiesNothingIsAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, one, two := guests(t, mapping, mapping)
		a, b := pair(t, one, two)
		exchange(t, a, b)
		h.Hook(func(c *sim.Call) error {
			if c.Op == sim.OpCopy {
				return sim.ErrPretend
			}
			return nil
		})
		var err error
		for range 5 {
			if err = a.Wait(time.Second); err != nil {
				break
			}
		}
		h.Hook(nil)
		if !errors.Is(err, ring.ErrGone) {
			t.Errorf("Wait returned %v, want %v", err, ring.ErrGone)
		}
	})
}

// Whichever side ends first, and however: the other one notices, and once it is closed
// nothing is mapped, granted or stuck.
func TestTheEndOfAMappedLinkLeavesNothing(t *testing.T) {
	for name, end := range map[string]func(a *link.Link, p *party){
		"it closes":             func(a *link.Link, _ *party) { a.Close() },
		"its process is killed": func(_ *link.Link, p *party) { p.proc.Kill() },
	} {
		for _, suspends := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					_, one, two := guests(t, mapping, mapping)
					one.dom.Suspends, two.dom.Suspends = suspends, suspends
					a, b := mortalPair(t, one, two)
					exchange(t, a, b)
					end(a, one)
					if one.home.Stuck() != 17 || one.home.Granted() != 0 {
						t.Errorf("%d pages are stuck and %d granted, want 17 and 0", one.home.Stuck(), one.home.Granted())
					}
					begin := time.Now()
					var err error
					for err == nil {
						err = b.Wait(time.Second)
					}
					if link.CauseOf(err) != link.Lost || time.Since(begin) > time.Second {
						t.Errorf("the other side ended with %v after %v", err, time.Since(begin))
					}
					if err := b.Close(); err != nil {
						t.Error(err)
					}
					clean(t, one, two)
				})
			})
		}
	}
}

// A peer that revokes its pages and leaves its words as they are has nothing revoked:
// what is mapped stays, and no load of ours fails.
func TestARevocationDoesNotTakeWhatIsMapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, evil := guests(t, mapping, mapping)
		o := one.offer(evil)
		e := forge(t, evil, one, o.Terms().Generation, nil)
		l := e.link(o)
		e.send([]byte("still here"))
		if err := errors.Join(e.header.Revoke(), e.ring.Revoke()); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, l, 10); string(got) != "still here" {
			t.Errorf("received %q", got)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		clean(t, one)
		if n := evil.home.Stuck(); n != 0 {
			t.Errorf("%d pages are stuck", n)
		}
	})
}
