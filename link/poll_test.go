package link_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/evtchn"
	"xvsock/link"
	"xvsock/sim"
	"xvsock/xen"
)

// claimer is a domain's Binder with claims: a Nap takes the events out of the channels,
// as if it had read them.
type claimer struct {
	evtchn.Binder
	mu       sync.Mutex
	channels []evtchn.Channel
	held     bool // there is a claim
	refuses  bool
	slow     bool // the reader does not leave
	broken   error
	naps     int
	collects int // after which events are in their channels
	claims   int
}

// makeClaimer gives a party such a Binder.
func makeClaimer(p *party) *claimer {
	c := &claimer{Binder: p.dom.Events}
	p.dom.Events = c
	return c
}

func (c *claimer) add(ch evtchn.Channel, err error) (evtchn.Channel, error) {
	if err == nil {
		c.channels = append(c.channels, ch)
	}
	return ch, err
}

// Unbound implements evtchn.Binder.
func (c *claimer) Unbound(d xen.DomID) (evtchn.Channel, error) { return c.add(c.Binder.Unbound(d)) }

// Interdomain implements evtchn.Binder.
func (c *claimer) Interdomain(d xen.DomID, p xen.Port) (evtchn.Channel, error) {
	return c.add(c.Binder.Interdomain(d, p))
}

// Claim implements evtchn.Claimer.
func (c *claimer) Claim() evtchn.Claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuses || c.held {
		return nil
	}
	c.held = true
	c.claims++
	return (*fakeClaim)(c)
}

// isHeld reports whether somebody holds the claim.
func (c *claimer) isHeld() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

// napped returns how many naps there were.
func (c *claimer) napped() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.naps
}

// fakeClaim is its claim.
type fakeClaim claimer

// Ready implements evtchn.Claim.
func (c *fakeClaim) Ready(time.Duration) bool { return !c.slow }

// Nap implements evtchn.Claim.
func (c *fakeClaim) Nap(d time.Duration) (bool, error) {
	c.mu.Lock()
	c.naps++
	c.mu.Unlock()
	for end := time.Now().Add(d); ; time.Sleep(d / 16) {
		c.mu.Lock()
		broken := c.broken
		c.mu.Unlock()
		for _, ch := range c.channels {
			select {
			case <-ch.Event():
				return true, broken
			default:
			}
		}
		if broken != nil || !time.Now().Before(end) {
			return false, broken
		}
	}
}

// Collect implements evtchn.Claim.
func (c *fakeClaim) Collect() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.collects++
	return nil
}

// Release implements evtchn.Claim.
func (c *fakeClaim) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
}

// napping runs a test on a hot link whose domain has claims, for each access. Nothing is
// under way on it.
func napping(t *testing.T, opt link.Options, test func(t *testing.T, c *claimer, a, b *link.Link)) {
	t.Helper()
	eachAccess(t, func(t *testing.T, access link.Options) {
		opt := opt
		opt.Access = access.Access
		_, one, two := guests(t, opt, opt)
		c := makeClaimer(one)
		a, b := pair(t, one, two)
		for _, l := range []*link.Link{a, b, a, b} {
			if err := errors.Join(l.Sleep(time.Minute), l.Look()); err != nil {
				t.Fatal(err)
			}
		}
		link.Heat(a)
		test(t, c, a, b)
	})
}

// polled fails the test unless Poll says so.
func polled(t *testing.T, l *link.Link, want bool) {
	t.Helper()
	if news, err := l.Poll(); news != want || err != nil {
		t.Errorf("Poll: %v, %v, want %v", news, err, want)
	}
}

// sleeps fails the test unless Sleep returns before its time, or not.
func sleeps(t *testing.T, l *link.Link, want bool) {
	t.Helper()
	began := time.Now()
	if err := l.Sleep(time.Minute); err != nil {
		t.Fatal(err)
	}
	if slept := time.Since(began) == time.Minute; slept != want {
		t.Errorf("Sleep took %v", time.Since(began))
	}
}

func TestANapEndsWithWhatTheOtherSideSends(t *testing.T) {
	napping(t, link.Options{}, func(t *testing.T, c *claimer, a, b *link.Link) {
		before := b.Counts().Notifies
		time.AfterFunc(time.Millisecond, func() { send(t, b, []byte("a message that ends a nap")) })
		polled(t, a, true)
		if c.napped() != 1 || !c.isHeld() || !a.Hot() {
			t.Errorf("%d naps; the claim is held: %v", c.napped(), c.isHeld())
		}
		if n := b.Counts().Notifies - before; n != 1 {
			t.Errorf("%d events for a side that naps, want 1", n)
		}
		// The next one wakes up as well: the port is let through.
		x, y, err := a.Peek(1)
		if err != nil {
			t.Fatal(err)
		}
		a.Discard(len(x) + len(y))
		time.AfterFunc(time.Millisecond, func() { send(t, b, []byte("another one")) })
		polled(t, a, true)
		if news, err := a.Rest(); news || err != nil {
			t.Errorf("Rest: %v, %v", news, err)
		}
		if c.isHeld() {
			t.Error("the claim is held by a side that rests")
		}
	})
}

func TestANapInVainGivesTheClaimBack(t *testing.T) {
	napping(t, link.Options{}, func(t *testing.T, c *claimer, a, b *link.Link) {
		began := time.Now()
		polled(t, a, false)
		if c.isHeld() || a.Hot() || c.napped() != 1 {
			t.Errorf("the claim is held: %v, the link is hot: %v, after %d naps", c.isHeld(), a.Hot(), c.napped())
		}
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("it has napped for %v", took)
		}
		// Nobody holds the claim: what comes now wakes the sleeper.
		sleeps(t, a, false) // that the claim was given back
		send(t, b, []byte("x"))
		sleeps(t, a, false)
	})
}

// Wake is for the sleeper: a goroutine that polls while that is on its way into Sleep
// must not take it.
func TestAPollTakesNoWake(t *testing.T) {
	napping(t, link.Options{}, func(t *testing.T, c *claimer, a, b *link.Link) {
		c.refuses = true // or the claim's end wakes too
		a.Wake()
		polled(t, a, false)
		sleeps(t, a, false)
		sleeps(t, a, true)
		link.Heat(a)
		a.Wake()
		send(t, b, []byte("x"))
		polled(t, a, true)
		if news, err := a.Rest(); news || err != nil {
			t.Errorf("Rest: %v, %v", news, err)
		}
		sleeps(t, a, false)
	})
}

// Who sleeps while somebody of this link holds the claim waits for no events, and is told
// when that is over.
func TestASleeperBesideAClaimIsToldWhenItEnds(t *testing.T) {
	napping(t, link.Options{}, func(t *testing.T, c *claimer, a, b *link.Link) {
		time.AfterFunc(time.Millisecond, func() { send(t, b, []byte("x")) })
		polled(t, a, true)
		woken := make(chan error)
		go func() { woken <- a.Sleep(0) }()
		send(t, b, []byte("y"))
		synctest.Wait()
		select {
		case <-woken:
			t.Fatal("the sleeper has taken an event beside the claim")
		default:
		}
		if _, err := a.Rest(); err != nil {
			t.Fatal(err)
		}
		if err := <-woken; err != nil {
			t.Error(err)
		}
		if got := receive(t, a, 2); string(got) != "xy" {
			t.Errorf("received %q", got)
		}
	})
}

// A claim that is held without collecting keeps the events of all links of the domain.
func TestWhoKeepsAClaimCollectsForAll(t *testing.T) {
	for name, use := range map[string]func(t *testing.T, a, b *link.Link){
		"it looks, as a pump does that has much to do": func(t *testing.T, a, _ *link.Link) {
			if err := a.Look(); err != nil {
				t.Error(err)
			}
		},
		"it rests": func(t *testing.T, a, _ *link.Link) {
			if _, err := a.Rest(); err != nil {
				t.Error(err)
			}
		},
		"it is closed": func(t *testing.T, a, _ *link.Link) {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		},
		"all that comes is found by polls": func(t *testing.T, a, b *link.Link) {
			for range 300 {
				send(t, b, []byte("x"))
				link.Heat(a) // so that polls are not left out
				polled(t, a, true)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			napping(t, link.Options{}, func(t *testing.T, c *claimer, a, b *link.Link) {
				time.AfterFunc(time.Millisecond, func() { send(t, b, []byte("x")) })
				polled(t, a, true)
				if !c.isHeld() {
					t.Fatal("no claim after a nap that paid")
				}
				c.collects = 0
				use(t, a, b)
				if c.isHeld() && c.collects == 0 {
					t.Error("the claim is held, and nobody collects")
				}
			})
		})
	}
}

func TestALinkThatGetsNoClaimSleeps(t *testing.T) {
	for name, deny := range map[string]func(c *claimer){
		"another link holds it":     func(c *claimer) { c.held = true },
		"there are no events":       func(c *claimer) { c.refuses = true },
		"the reader does not leave": func(c *claimer) { c.slow = true },
	} {
		t.Run(name, func(t *testing.T) {
			napping(t, link.Options{}, func(t *testing.T, c *claimer, a, b *link.Link) {
				deny(c)
				before := c.isHeld()
				polled(t, a, false)
				if c.napped() != 0 || c.isHeld() != before {
					t.Errorf("%d naps; the claim is held: %v", c.napped(), c.isHeld())
				}
				if c.slow {
					sleeps(t, a, false) // that the claim was given back
				}
				send(t, b, []byte("x"))
				sleeps(t, a, false)
				if got := receive(t, a, 1); string(got) != "x" {
					t.Errorf("received %q", got)
				}
			})
		})
	}
}

func TestWhatEndsANapEndsTheLink(t *testing.T) {
	broken := errors.New("broken")
	napping(t, link.Options{}, func(t *testing.T, c *claimer, a, _ *link.Link) {
		time.AfterFunc(time.Millisecond, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.broken = broken
		})
		news, err := a.Poll()
		if news || !errors.Is(err, broken) || link.CauseOf(err) != link.Lost {
			t.Errorf("Poll: %v, %v", news, err)
		}
		if err := a.Look(); !errors.Is(err, broken) {
			t.Errorf("Look: %v", err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if c.isHeld() {
			t.Error("a link that has ended holds the claim")
		}
	})
}

// A resume that comes under a nap ends the link as any other time does, and nothing of
// before is touched.
func TestAResumeUnderANapEndsTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := guests(t, link.Options{}, link.Options{})
		one.dom.Suspends = true
		c := makeClaimer(one)
		l, far := pair(t, one, two)
		for range 2 {
			if err := errors.Join(l.Sleep(time.Minute), l.Look(), far.Sleep(time.Minute), far.Look()); err != nil {
				t.Fatal(err)
			}
		}
		link.Heat(l)
		time.AfterFunc(time.Millisecond, func() {
			if err := errors.Join(one.home.Suspend(), one.home.Resume()); err != nil {
				t.Error(err)
			}
			c.Binder.(*sim.Events).Abandon()
		})
		var err error
		for err == nil {
			_, err = l.Poll()
			if err == nil {
				err = errors.Join(l.Sleep(time.Second), l.Look())
			}
		}
		if link.CauseOf(err) != link.Lost {
			t.Errorf("the link ended with %v", err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if c.isHeld() {
			t.Error("a link that has ended holds the claim")
		}
	})
}

// The other side is told that this one polls as long as somebody does, and no longer: it
// sends no event then, and one when it is over.
func TestTheOtherSideKnowsWhetherThisOnePolls(t *testing.T) {
	for _, off := range []bool{false, true} {
		napping(t, link.Options{NoPoll: off}, func(t *testing.T, c *claimer, a, b *link.Link) {
			c.refuses = true
			told := func(when string, want uint64) {
				t.Helper()
				if err := b.Look(); err != nil {
					t.Fatal(err)
				}
				before := b.Counts().Notifies
				send(t, b, []byte("x"))
				_ = b.Look()
				if err := b.Flush(); err != nil {
					t.Fatal(err)
				}
				if n := b.Counts().Notifies - before; n != want {
					t.Errorf("poll=off: %v, %s: %d events, want %d", off, when, n, want)
				}
			}
			told("at rest", 1)
			if off {
				polled(t, a, false) // it looks when it is told
				if a.Counts().Polls != 0 {
					t.Error("it has polled")
				}
				told("after a Poll", 1)
				return
			}
			polled(t, a, true)
			if a.Counts().Polls != 1 {
				t.Errorf("%d polls", a.Counts().Polls)
			}
			if _, err := a.Rest(); err != nil {
				t.Fatal(err)
			}
			told("at rest again", 1)
		})
	}
}

// While both poll, what one has to tell is left to its next look. When the other side has
// gone to sleep meanwhile, it is told at the latest when this one rests.
func TestWhatWasLeftToTheNextLookIsToldBeforeTheRest(t *testing.T) {
	for name, rest := range map[string]func(l *link.Link) (bool, error){"Rest": (*link.Link).Rest, "Poll": (*link.Link).Poll} {
		t.Run(name, func(t *testing.T) {
			napping(t, link.Options{}, func(t *testing.T, c *claimer, a, b *link.Link) {
				c.refuses = true
				link.Heat(b)
				send(t, a, []byte("x"))
				polled(t, b, true) // b is awake
				send(t, b, []byte("x"))
				polled(t, a, true) // a is, and knows that b is
				if news, err := b.Rest(); news || err != nil {
					t.Fatalf("Rest: %v, %v", news, err)
				}
				sleeps(t, b, false) // what came before
				before := a.Counts().Notifies
				send(t, a, []byte("y"))
				if n := a.Counts().Notifies; n != before {
					t.Errorf("%d events while a look follows", n-before)
				}
				if news, err := rest(a); news || err != nil {
					t.Errorf("%v, %v", news, err)
				}
				if n := a.Counts().Notifies; n != before+1 {
					t.Errorf("%d events, want 1", n-before)
				}
				sleeps(t, b, false)
			})
		})
	}
}

// A side that rests relies on no look of its own: it tells the other side even if that
// was awake when it was last looked at.
func TestASideThatRestsLeavesNothingToItsNextLook(t *testing.T) {
	napping(t, link.Options{}, func(t *testing.T, c *claimer, a, b *link.Link) {
		c.refuses = true
		link.Heat(b)
		send(t, a, []byte("x"))
		polled(t, b, true)
		send(t, b, []byte("x"))
		polled(t, a, true)
		for _, l := range []*link.Link{a, b} {
			if news, err := l.Rest(); news || err != nil {
				t.Fatalf("Rest: %v, %v", news, err)
			}
		}
		sleeps(t, b, false) // what came before
		send(t, a, []byte("y"))
		sleeps(t, b, false)
	})
}
