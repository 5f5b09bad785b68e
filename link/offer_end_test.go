package link_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/grant"
	"xvsock/link"
	"xvsock/ring"
	"xvsock/sim"
)

// errTalk says that the other side said nothing for so long.
var errTalk = errors.New("the other side is silent")

// await waits for n bytes, but not for ever.
func await(l *link.Link, n int) error {
	for range 20 {
		a, b, err := l.Peek(n)
		if err != nil {
			return err
		}
		if len(a)+len(b) >= n {
			l.Discard(n)
			return l.Flush()
		}
		if err := l.Wait(time.Second); err != nil {
			return err
		}
	}
	return errTalk
}

// say sends n bytes.
func say(l *link.Link, n int) error {
	l.Reserve(n)
	return errors.Join(l.Commit(n), l.Flush())
}

// live is the life of one side of a peer link: it offers, tells and is told the
// terms, binds, forms the link, says something and hears something. The
// initiator then closes, the responder waits for that.
func (p *party) live(to *party, initiator bool, tell chan<- link.Terms, told <-chan link.Terms) (err error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), bindTime)
	defer cancel()
	o, err := link.NewOffer(p.dom, to.dom.ID(), p.opt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Release()) }()
	if initiator {
		tell <- o.Terms()
	}
	var theirs link.Terms
	select {
	case theirs = <-told:
	case <-ctx.Done():
		return ctx.Err()
	}
	if !initiator {
		if err := o.Adopt(theirs.Generation); err != nil {
			return err
		}
	}
	if err := o.Bind(theirs); err != nil {
		return err
	}
	if !initiator {
		tell <- o.Terms()
	}
	l, err := o.Link(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if initiator {
		return errors.Join(say(l, 1000), await(l, 2000))
	}
	return errors.Join(await(l, 1000), say(l, 2000), await(l, 1))
}

// lives runs both sides of a link and returns how each ended.
func lives(initiator, responder *party) (ierr, rerr error) {
	toResponder, toInitiator := make(chan link.Terms, 1), make(chan link.Terms, 1)
	done := make(chan error)
	go func() { done <- responder.live(initiator, false, toInitiator, toResponder) }()
	ierr = initiator.live(responder, true, toResponder, toInitiator)
	return ierr, <-done
}

// atCall has f called before the k-th call of a process. reached says whether
// there was one.
func atCall(h *sim.Host, p *sim.Process, k int, f func(*sim.Call) error) (reached func() bool) {
	count := make(chan struct{}, 1000) // a counter that is fit for any goroutine
	h.Hook(func(c *sim.Call) error {
		if c.Process != p {
			return nil
		}
		count <- struct{}{}
		if len(count) != k {
			return nil
		}
		return f(c)
	})
	return func() bool { return len(count) >= k }
}

// Either side dies, or a call of it fails, at each point of the life of a link:
// the other side ends in time, takes it for no lie, and nothing is left on either
// side.
func TestAnEndAtAnyPointLeavesNothing(t *testing.T) {
	injected := errors.New("injected")
	ways := map[string]func(*sim.Call) error{
		"is killed":    func(c *sim.Call) error { c.Process.Kill(); return nil },
		"is destroyed": func(c *sim.Call) error { c.Process.Domain().Destroy(); return nil },
		"fails": func(c *sim.Call) error {
			if c.Op == sim.OpRevoke || c.Op == sim.OpClose || c.Op == sim.OpUnmap {
				return nil // what does not end is left, by nobody's fault
			}
			return injected
		},
	}
	for _, who := range []string{"initiator", "responder"} {
		for way, end := range ways {
			walk(t, who+" "+way, 20, func(t *testing.T, k int, opt link.Options) bool {
				h, one, two := guests(t, opt, opt)
				dies, stays := one, two
				if who == "responder" {
					dies, stays = two, one
				}
				reached := atCall(h, dies.proc, k, end)
				begin := time.Now()
				errs := make(map[*party]error)
				errs[one], errs[two] = lives(one, two)
				h.Hook(nil)
				if took := time.Since(begin); took > 2*bindTime {
					t.Errorf("the end took %v", took)
				}
				if err := errs[stays]; err != nil && link.CauseOf(err) != link.Lost {
					t.Errorf("the other side: %v, want lost", err)
				}
				clean(t, stays)
				if way != "is destroyed" {
					clean(t, dies)
				}
				return reached()
			})
		}
	}
}

// walk runs test for k = 1, 2, ..., by copy and mapped, until both say that there was no
// k-th point. At least so many there must be.
func walk(t *testing.T, name string, least int, test func(t *testing.T, k int, opt link.Options) bool) {
	for k, more := 1, true; more; k++ {
		more = false
		t.Run(fmt.Sprintf("%s at call %d", name, k), func(t *testing.T) {
			eachAccess(t, func(t *testing.T, opt link.Options) { more = test(t, k, opt) || more })
		})
		if !more && k <= least {
			t.Errorf("%s: there are only %d calls", name, k-1)
		}
	}
}

// The other side takes everything back, without a word, at each point of making
// the link and using it.
func TestARevocationAtAnyPointIsAnEndAndNoLie(t *testing.T) {
	walk(t, "revoked", 8, func(t *testing.T, k int, opt link.Options) bool {
		h, one, two := guests(t, opt, opt)
		o := one.offer(two)
		e := forge(t, two, one, o.Terms().Generation, nil)
		e.bind(o.Terms())
		reached := atCall(h, one.proc, k, func(*sim.Call) error { e.takeBack(); return nil })
		err := o.Bind(e.terms)
		var l *link.Link
		if err == nil {
			l, err = o.Link(t.Context())
		}
		if err == nil {
			e.send([]byte("data"))
			err = errors.Join(await(l, 4), say(l, 100), l.Wait(time.Second), l.Wait(time.Second), l.Close())
		}
		if err != nil && link.CauseOf(err) != link.Lost {
			t.Errorf("%v, want lost", err)
		}
		if err := o.Release(); err != nil {
			t.Error(err)
		}
		clean(t, one)
		return reached()
	})
}

// What becomes of an offer whose other side does not bind.
func TestWaitingForTheOtherSideToBind(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(two *party)
		took time.Duration
		want error
	}{
		"it never binds":          {func(*party) {}, bindTime, context.DeadlineExceeded},
		"its process is killed":   {func(two *party) { two.proc.Kill() }, 2 * time.Second, nil},
		"its domain is destroyed": {func(two *party) { two.home.Destroy() }, 2 * time.Second, nil},
	} {
		t.Run(name, func(t *testing.T) {
			eachAccess(t, func(t *testing.T, opt link.Options) {
				_, one, two := guests(t, opt, opt)
				two.dom.Suspends = true
				i, r := one.offer(two), two.offer(one)
				if err := errors.Join(r.Adopt(i.Terms().Generation), i.Bind(r.Terms())); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), bindTime)
				defer cancel()
				begin := time.Now()
				time.AfterFunc(1500*time.Millisecond, func() { c.end(two) })
				_, err := i.Link(ctx)
				if err == nil || link.CauseOf(err) != link.Lost || c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("Link returned %v", err)
				}
				if took := time.Since(begin); took != c.took {
					t.Errorf("Link took %v, want %v", took, c.took)
				}
				if err := errors.Join(i.Release(), r.Release()); err != nil {
					t.Error(err)
				}
				clean(t, one)
			})
		})
	}
}

// A release ends what the other side has made of the offer, at once.
func TestTheOtherSideHearsOfARelease(t *testing.T) {
	for _, suspends := range []bool{false, true} {
		eachAccess(t, func(t *testing.T, opt link.Options) {
			_, one, two := guests(t, opt, opt)
			one.dom.Suspends = suspends
			i, r := one.offer(two), two.offer(one)
			if err := errors.Join(r.Adopt(i.Terms().Generation), r.Bind(i.Terms()), i.Bind(r.Terms())); err != nil {
				t.Fatal(err)
			}
			l, err := r.Link(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			done := make(chan error, 1)
			time.AfterFunc(time.Second, func() { done <- i.Release() })
			begin := time.Now()
			for err = nil; err == nil; {
				err = l.Wait(0)
			}
			if link.CauseOf(err) != link.Lost || time.Since(begin) != time.Second {
				t.Errorf("Wait returned %v after %v, want lost after 1 s", err, time.Since(begin))
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// What is mapped goes first, for its owner is about to revoke it. Of the pages the header
// does, which says that this side is gone, and ports last: the death signal needs one.
func TestOrderOfARelease(t *testing.T) {
	eachAccess(t, func(t *testing.T, opt link.Options) {
		h, one, two := guests(t, opt, opt)
		i, r := one.offer(two), two.offer(one)
		if err := errors.Join(r.Adopt(i.Terms().Generation), i.Bind(r.Terms())); err != nil {
			t.Fatal(err)
		}
		var order []string
		h.Hook(func(c *sim.Call) error {
			order = append(order, fmt.Sprintf("%v %d", c.Op, c.Pages))
			return nil
		})
		if err := i.Release(); err != nil {
			t.Error(err)
		}
		h.Hook(nil)
		want := []string{"revoke 1", "revoke 16", "unbind 0", "unbind 0"}
		if opt.Access == link.AccessMap {
			want = append([]string{"unmap 1", "unmap 16"}, want...)
		}
		if !slices.Equal(order, want) {
			t.Errorf("calls are %q, want %q", order, want)
		}
	})
}

// An event that is meant for somebody else, or comes before the other side is
// there, makes a link on which nothing is lost: that side finds its events when it
// binds.
func TestAnEventTooEarlyDoesNoHarm(t *testing.T) {
	eachAccess(t, func(t *testing.T, opt link.Options) {
		_, one, two := guests(t, opt, opt)
		i, r := one.offer(two), two.offer(one)
		stray, err := two.proc.Events().Interdomain(one.dom.ID(), i.Terms().Port)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(stray.Notify(), stray.Close(), r.Adopt(i.Terms().Generation), i.Bind(r.Terms())); err != nil {
			t.Fatal(err)
		}
		il, err := i.Link(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer il.Close()
		send(t, il, []byte("early"))
		if err := r.Bind(i.Terms()); err != nil {
			t.Fatal(err)
		}
		rl, err := r.Link(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer rl.Close()
		if got := receive(t, rl, 5); string(got) != "early" {
			t.Errorf("received %q", got)
		}
		exchange(t, il, rl)
	})
}

// A domain that maps what it may only copy keeps the pages, but nobody waits for
// it.
func TestAMappingHoldsUpNobody(t *testing.T) {
	for name, form := range map[string]bool{"an offer is released": false, "a link is closed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, one, two := guests(t, link.Options{}, link.Options{})
				i, r := one.offer(two), two.offer(one)
				end := i.Release
				if form {
					l, _ := ends(t, i, r)
					end = l.Close
				}
				m, err := two.proc.Grants().Map(one.dom.ID(), []grant.Ref{i.Terms().Header})
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				if err := end(); err != nil || time.Since(begin) != 0 {
					t.Errorf("%v after %v", err, time.Since(begin))
				}
				if sim.Peek(m.Bytes())[ring.StateOffset] != 0 {
					t.Error("the header still says that this side is there")
				}
				if one.home.Granted() != 0 || one.home.Stuck() != 1 {
					t.Errorf("%d pages granted, %d stuck", one.home.Granted(), one.home.Stuck())
				}
				if err := m.Unmap(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
