package link_test

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/grant"
	"xvsock/link"
	"xvsock/ring"
	"xvsock/sim"
	"xvsock/xen"
)

// What the other side may say in its offer: Bind refuses it for the right cause,
// holds nothing of it, and a link to somebody else goes on (behaviours 8 and 15).
func TestBindRefusesWhatIsNoOffer(t *testing.T) {
	for name, c := range map[string]struct {
		change func(page []byte)
		terms  func(*forgery)
		want   link.Cause
	}{
		"wrong magic":                         {change: put(0, 7), want: link.Broken},
		"unknown version":                     {change: put(4, 9), want: link.Broken},
		"an empty page":                       {change: func(p []byte) { clear(p) }, want: link.Broken},
		"the header of another link":          {change: put(8, 77), want: link.Broken},
		"no ring":                             {change: put(16, 0), want: link.Broken},
		"a ring of odd size":                  {change: put(16, xen.PageSize+1), want: link.Broken},
		"a ring beyond every limit":           {change: put(16, 1<<31), want: link.Broken},
		"a ring beyond this side's limit":     {change: put(16, 128<<10), want: link.Lost},
		"a ring for this side to write":       {change: put(20, xen.PageSize), want: link.Broken},
		"a message that names another link":   {terms: func(e *forgery) { e.terms.Generation++ }, want: link.Broken},
		"a header that is the ring":           {terms: func(e *forgery) { e.terms.Header = e.ring.Refs()[0] }, want: link.Broken},
		"a header reference beyond every one": {terms: func(e *forgery) { e.terms.Header = 1<<32 - 1 }, want: link.Broken},
		"a header that is not granted":        {terms: func(e *forgery) { e.terms.Header = 300 }, want: link.Lost},
		"the console's reference":             {terms: func(e *forgery) { e.terms.Header = 0 }, want: link.Lost},
		"the reference of xenstore":           {terms: func(e *forgery) { e.terms.Header = 1 }, want: link.Lost},
		"a header granted to somebody else":   {terms: func(e *forgery) { e.terms.Header, _ = e.foreign() }, want: link.Lost},
		"a header that is revoked":            {terms: func(e *forgery) { e.header.Revoke() }, want: link.Lost},
		"a dead domain":                       {terms: func(e *forgery) { e.from.home.Destroy() }, want: link.Lost},
		"port 0":                              {terms: func(e *forgery) { e.terms.Port = 0 }, want: link.Lost},
		"a port that is not there":            {terms: func(e *forgery) { e.terms.Port = 700 }, want: link.Lost},
		"a port beyond every table":           {terms: func(e *forgery) { e.terms.Port = 1<<32 - 1 }, want: link.Lost},
		"somebody else's port":                {terms: func(e *forgery) { _, e.terms.Port = e.foreign() }, want: link.Lost},
		"a port that is bound":                {terms: func(e *forgery) { e.terms.Port = e.rx.Port() }, want: link.Lost},
	} {
		t.Run(name, func(t *testing.T) {
			eachAccess(t, func(t *testing.T, opt link.Options) {
				h, one, evil := guests(t, opt, opt)
				honest := newParty(t, h.Create(sim.DomainConfig{Name: "honest"}), opt)
				a, b := pair(t, one, honest)
				before := one.holds()
				o := one.offer(evil)
				e := forge(t, evil, one, o.Terms().Generation, c.change)
				e.bind(o.Terms())
				if c.terms != nil {
					c.terms(e)
				}
				err := o.Bind(e.terms)
				if err == nil || link.CauseOf(err) != c.want || errors.Is(err, link.ErrForbidden) {
					t.Errorf("Bind returned %v, want %v", err, c.want)
				}
				if _, err := o.Link(t.Context()); err == nil {
					t.Error("a link was made all the same")
				}
				if err := o.Release(); err != nil {
					t.Error(err)
				}
				if n := one.holds(); n != before {
					t.Errorf("%d pages and ports are left", n-before)
				}
				exchange(t, a, b)
			})
		})
	}
}

// References of a ring that are not what they should be: at worst the other side
// sends itself what it did not mean to (behaviour 8).
func TestReferencesOfTheirRing(t *testing.T) {
	up := link.Cause(0xff)
	for name, c := range map[string]struct {
		ref  func(*forgery) grant.Ref
		want link.Cause
	}{
		"the console's":           {func(*forgery) grant.Ref { return 0 }, link.Lost},
		"that of xenstore":        {func(*forgery) grant.Ref { return 1 }, link.Lost},
		"one that is not granted": {func(*forgery) grant.Ref { return 300 }, link.Lost},
		"somebody else's":         {func(e *forgery) grant.Ref { r, _ := e.foreign(); return r }, link.Lost},
		"beyond every table":      {func(*forgery) grant.Ref { return 1<<32 - 1 }, link.Broken},
		"the header's":            {func(e *forgery) grant.Ref { return e.header.Refs()[0] }, up},
	} {
		t.Run(name, func(t *testing.T) {
			eachAccess(t, func(t *testing.T, opt link.Options) {
				_, one, evil := guests(t, opt, opt)
				o := one.offer(evil)
				e := forge(t, evil, one, o.Terms().Generation, nil)
				sim.Poke(e.header.Bytes(), put(128, uint32(c.ref(e))))
				e.publish(8)
				e.bind(o.Terms())
				if err := o.Bind(e.terms); err != nil {
					t.Fatal(err)
				}
				l, err := o.Link(t.Context())
				if err == nil {
					defer l.Close()
				}
				if c.want == up {
					if err != nil {
						t.Fatal(err)
					}
					if a, _, err := l.Peek(8); err != nil || !slices.Equal(a, sim.Peek(e.header.Bytes())[:8]) {
						t.Errorf("received %q, %v, want the header's first bytes", a, err)
					}
				} else if err == nil || link.CauseOf(err) != c.want {
					t.Errorf("Link returned %v, want %v", err, c.want)
				}
			})
		})
	}
}

// What stood in a header when it was bound holds (behaviour 7).
func TestTheirHeaderIsNotReadAgain(t *testing.T) {
	eachAccess(t, func(t *testing.T, opt link.Options) {
		_, one, evil := guests(t, opt, opt)
		o := one.offer(evil)
		e := forge(t, evil, one, o.Terms().Generation, nil)
		l := e.link(o)
		sim.Poke(e.header.Bytes(), func(page []byte) {
			for i := range page {
				if i < ring.MovingOffset || i >= ring.MovingOffset+ring.MovingSize {
					page[i] = 0xff
				}
			}
		})
		e.send([]byte("as before"))
		if got := receive(t, l, 9); string(got) != "as before" {
			t.Errorf("received %q", got)
		}
		if l.Ring() != xen.PageSize || l.Generation() != e.terms.Generation {
			t.Errorf("ring %d, generation %x", l.Ring(), l.Generation())
		}
	})
}

// The other side lies or goes between Bind and Link.
func TestWhatHappensBetweenBindAndLink(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*forgery)
		want link.Cause
	}{
		"its domain is gone": {func(e *forgery) { e.from.home.Destroy() }, link.Lost},
		"it says that it is gone": {func(e *forgery) {
			sim.Poke(e.header.Bytes(), func(page []byte) { page[ring.StateOffset] = 0 })
		}, link.Lost},
		"its state is nonsense": {func(e *forgery) {
			sim.Poke(e.header.Bytes(), func(page []byte) { page[ring.StateOffset] = 3 })
		}, link.Broken},
		"its producer is beyond the ring": {func(e *forgery) { e.publish(xen.PageSize + 1) }, link.Broken},
		"it has consumed what nobody sent": {func(e *forgery) {
			sim.Poke(e.header.Bytes(), func(page []byte) { page[88]++; page[96]-- })
		}, link.Broken},
	} {
		t.Run(name, func(t *testing.T) {
			eachAccess(t, func(t *testing.T, opt link.Options) {
				_, one, evil := guests(t, opt, opt)
				o := one.offer(evil)
				e := forge(t, evil, one, o.Terms().Generation, nil)
				e.bind(o.Terms())
				if err := o.Bind(e.terms); err != nil {
					t.Fatal(err)
				}
				c.do(e)
				begin := time.Now()
				l, err := o.Link(t.Context())
				for err == nil && time.Since(begin) < 2*time.Second { // what is mapped has to be probed
					err = l.Wait(time.Second)
				}
				late := time.Since(begin) != 0
				if link.CauseOf(err) != c.want || err == nil || late && opt.Access == link.AccessCopy {
					t.Errorf("the end is %v after %v, want %v", err, time.Since(begin), c.want)
				}
				if l != nil {
					if err := l.Close(); err != nil {
						t.Error(err)
					}
				}
				if err := o.Release(); err != nil {
					t.Error(err)
				}
				clean(t, one)
			})
		})
	}
}

// The other side can read what it was offered, and write nothing of it.
func TestNothingOfAnOfferCanBeWritten(t *testing.T) {
	eachAccess(t, func(t *testing.T, opt link.Options) {
		_, one, evil := guests(t, opt, opt)
		o := one.offer(evil)
		pull := func(ref grant.Ref, write bool) ([]byte, error) {
			page := make([]byte, xen.PageSize)
			seg := grant.Segment{Local: page, Domain: one.dom.ID(), Ref: ref, Write: write}
			return page, evil.proc.Grants().Copy([]grant.Segment{seg})
		}
		page, err := pull(o.Terms().Header, false)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ring.ParseStatic(page)
		if err != nil || len(s.TxRefs) != 16 || s.Generation != o.Terms().Generation {
			t.Fatalf("the header says %+v, %v", s, err)
		}
		for _, ref := range append(s.TxRefs, uint32(o.Terms().Header)) {
			if _, err := pull(grant.Ref(ref), true); err == nil {
				t.Errorf("reference %d could be written", ref)
			}
		}
	})
}

// A storm of events before the link stands costs one copy a wake-up, and ends
// with the context.
func TestAStormOfEventsDoesNotMakeALink(t *testing.T) {
	eachAccess(t, func(t *testing.T, opt link.Options) {
		_, one, evil := guests(t, opt, opt)
		o := one.offer(evil)
		e := forge(t, evil, one, o.Terms().Generation, nil)
		if err := o.Bind(e.terms); err != nil {
			t.Fatal(err)
		}
		before := one.home.Counts()
		storm := time.AfterFunc(0, func() {
			for range 1000 {
				e.tx.Notify()
			}
		})
		defer storm.Stop()
		ctx, cancel := context.WithTimeout(t.Context(), bindTime)
		defer cancel()
		if _, err := o.Link(ctx); link.CauseOf(err) != link.Lost || ctx.Err() == nil {
			t.Errorf("Link returned %v", err)
		}
		if c := one.home.Counts().Minus(before); c.Copies > c.Unmasks+1 {
			t.Errorf("%d copies for %d unmasked events", c.Copies, c.Unmasks)
		}
	})
}

// Where the hypervisor's policy keeps two domains apart the error says so, and it
// is nobody's lie.
func TestForbiddenByTheHypervisor(t *testing.T) {
	for name, c := range map[string]struct {
		op   sim.Op
		what func(*sim.Call) error
	}{
		"allocating a port": {sim.OpUnbound, func(*sim.Call) error { return syscall.EPERM }},
		"binding a port":    {sim.OpInterdomain, func(*sim.Call) error { return syscall.EPERM }},
		"copying": {sim.OpCopy, func(c *sim.Call) error {
			c.Fail(0, grant.StatusPermissionDenied)
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, one, two := guests(t, link.Options{}, link.Options{})
				r := two.offer(one)
				h.Hook(func(call *sim.Call) error {
					if call.Op == c.op {
						return c.what(call)
					}
					return nil
				})
				o, err := link.NewOffer(one.dom, two.dom.ID(), one.opt)
				if err == nil {
					defer o.Release()
					err = errors.Join(r.Adopt(o.Terms().Generation), o.Bind(r.Terms()))
				}
				if !errors.Is(err, link.ErrForbidden) || link.CauseOf(err) != link.Lost {
					t.Errorf("%v, want %v", err, link.ErrForbidden)
				}
			})
		})
	}
}

// Whatever stands in a header page, Bind takes it or refuses it, and Release
// leaves nothing.
func FuzzBind(f *testing.F) {
	f.Add(uint16(0), []byte{}, uint32(0), uint32(0), true)
	f.Add(uint16(16), []byte{0, 0x10, 0, 0, 0, 0x10}, uint32(0), uint32(0), true)
	f.Add(uint16(16), []byte{0, 0, 0x10, 0}, uint32(0), uint32(1), false)
	f.Add(uint16(128), []byte{0xff, 0xff, 0xff, 0xff}, uint32(1), uint32(0), false)
	f.Fuzz(func(t *testing.T, at uint16, bytes []byte, header, port uint32, maps bool) {
		opt := link.Options{MaxRing: 1 << 20}
		if maps {
			opt.Access = link.AccessMap
		}
		_, one, evil := guests(t, opt, opt)
		o := one.offer(evil)
		e := forge(t, evil, one, o.Terms().Generation, func(page []byte) {
			copy(page[int(at)%len(page):], bytes)
		})
		e.bind(o.Terms())
		e.terms.Header += grant.Ref(header) // 0: the true one
		e.terms.Port += xen.Port(port)
		if err := o.Bind(e.terms); err == nil {
			e.send([]byte("data"))
			if l, err := o.Link(t.Context()); err == nil {
				if l.Ring() > 1<<20 {
					t.Errorf("a ring of %d bytes", l.Ring())
				}
				_, _, _ = l.Peek(4)
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		if err := o.Release(); err != nil {
			t.Error(err)
		}
		clean(t, one)
	})
}
