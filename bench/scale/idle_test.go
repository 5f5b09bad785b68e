package scale

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/link"
	"xvsock/sim"
	"xvsock/vsock"
)

// A link without connections is not looked at, and nobody is woken for it.
func TestALinkWithoutConnectionsCostsNothing(t *testing.T) {
	for _, access := range []link.Access{link.AccessCopy, link.AccessMap} {
		t.Run(access.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testUnused(t, access) })
		})
	}
}

func testUnused(t *testing.T, access link.Access) {
	p := newPair(t, link.Options{Access: access})
	p.useOnce()
	time.Sleep(time.Minute)
	a, b := p.a.dom.Counts(), p.b.dom.Counts()
	time.Sleep(time.Hour)
	synctest.Wait()
	for name, spent := range map[string]sim.Counts{"one side": p.a.dom.Counts().Minus(a), "the other side": p.b.dom.Counts().Minus(b)} {
		if spent != (sim.Counts{}) {
			t.Errorf("in an hour of nothing %s spent %+v", name, spent)
		}
	}
	p.useOnce() // it was there all the time
}

// A front link always carries the conversation with the manager. While that is quiet
// each side looks once a second whether the other one still lives, and asks once in
// ten, unless the other one has asked just now; whatever number of frontends there is.
func TestAQuietFrontLinkCostsALookASecond(t *testing.T) {
	const seconds, asks = 1000, 1000 / 10
	for _, n := range []int{1, 50} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, clientsOfOneServer)
			f.add(n)
			time.Sleep(settle + 10*time.Minute) // until unused connections of the daemons have ended
			before := []sim.Counts{f.host.Domain(0).Counts()}
			for _, front := range f.fronts {
				before = append(before, front.Counts())
			}
			time.Sleep(seconds * time.Second)
			synctest.Wait()
			checkQuiet(t, "the backend", f.host.Domain(0).Counts().Minus(before[0]), n, seconds, asks)
			for i, front := range f.fronts {
				checkQuiet(t, front.Name(), front.Counts().Minus(before[i+1]), 1, seconds, asks)
			}
		})
	}
}

// checkQuiet checks what a domain with so many front links spent. Waking is counted by
// its end: both channels are unmasked before the next sleep.
func checkQuiet(t *testing.T, who string, spent sim.Counts, links, seconds, asks int) {
	t.Helper()
	// Both may ask in the same moment. A question and its answer are an event, a wake-up
	// and at most two copies on either side.
	wakeups, events := uint64(links*(seconds+2*asks)), uint64(links*2*asks)
	copies := uint64(links * (seconds + 4*asks))
	slack := uint64(links * 3) // where the time begins and ends
	if spent.Unmasks > 2*(wakeups+slack) || spent.Notifies > events+slack || spent.Copies > copies+slack || spent.Binds != 0 {
		t.Errorf("%s, with %d front links, spent %+v in %d quiet seconds; at most %d copies, %d wake-ups, %d events",
			who, links, spent, seconds, copies, wakeups, events)
	}
}

// pair is two domains with a link to each other and no backend.
type pair struct {
	t       *testing.T
	a, b    *end
	serving sync.WaitGroup
}

// end is one of them.
type end struct {
	dom    *sim.Domain
	domain *link.Domain
	stack  *vsock.Stack
}

// newPair joins two domains. Nothing but the connections is an end of the link.
func newPair(t *testing.T, opt link.Options) *pair {
	t.Helper()
	h := sim.NewTest(t)
	p := &pair{t: t, a: newEnd(t, h), b: newEnd(t, h)}
	t.Cleanup(func() {
		p.a.stack.Close()
		p.b.stack.Close()
		p.serving.Wait()
	})
	oa, err := link.NewOffer(p.a.domain, p.b.domain.ID(), opt)
	if err != nil {
		t.Fatal(err)
	}
	ob, err := link.NewOffer(p.b.domain, p.a.domain.ID(), opt)
	if err != nil {
		t.Fatal(errors.Join(err, oa.Release()))
	}
	err = errors.Join(ob.Adopt(oa.Terms().Generation), ob.Bind(oa.Terms()), oa.Bind(ob.Terms()))
	if err != nil {
		t.Fatal(errors.Join(err, oa.Release(), ob.Release()))
	}
	p.serve(p.a, oa)
	p.serve(p.b, ob)
	return p
}

// newEnd makes a domain with a stack that keeps its links for a day.
func newEnd(t *testing.T, h *sim.Host) *end {
	d := h.Create(sim.DomainConfig{})
	p := d.NewProcess()
	store := p.Xenstore()
	t.Cleanup(func() { store.Close() })
	return &end{
		dom: d, domain: link.NewDomain(d.ID(), p.Grants(), p.Events(), store),
		stack: vsock.NewStack(vsock.Config{Self: d.ID(), Idle: 24 * time.Hour}),
	}
}

// serve has the stack of e run its end of the link.
func (p *pair) serve(e *end, o *link.Offer) {
	p.t.Helper()
	l, err := o.Link(p.t.Context())
	if err != nil {
		p.t.Fatal(errors.Join(err, o.Release()))
	}
	ready := make(chan struct{})
	p.serving.Go(func() {
		defer l.Close()
		e.stack.Serve(l, vsock.ToPeer, func() { close(ready) })
	})
	<-ready
}

// useOnce makes a connection, sends a byte over it, and closes it at both ends.
func (p *pair) useOnce() {
	p.t.Helper()
	l, err := p.b.stack.Listen(7000)
	if err != nil {
		p.t.Fatal(err)
	}
	defer l.Close()
	from, err := p.a.stack.Dial(context.Background(), vsock.Addr{CID: vsock.CIDOf(p.b.dom.ID()), Port: 7000})
	if err != nil {
		p.t.Fatal(err)
	}
	to, err := l.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	var b [1]byte
	if _, err := from.Write(b[:]); err != nil {
		p.t.Error(err)
	}
	if _, err := to.Read(b[:]); err != nil {
		p.t.Error(err)
	}
	if err := errors.Join(from.Close(), to.Close()); err != nil {
		p.t.Error(err)
	}
}
