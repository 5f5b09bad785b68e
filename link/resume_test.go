package link_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/evtchn"
	"xvsock/link"
	"xvsock/sim"
	"xvsock/xenbus"
)

// resumed suspends and resumes a party's domain and abandons its event channels, as
// the program does when it learns of it.
func (p *party) resumed() {
	p.t.Helper()
	if err := errors.Join(p.home.Suspend(), p.home.Resume()); err != nil {
		p.t.Fatal(err)
	}
	p.dom.Events.(*sim.Events).Abandon()
}

// What ended because this domain was resumed is given back without an error, and is
// not charged: nobody maps its pages any more. Two times these rings would be too
// many pages.
func TestWhatAResumeEndsIsNotCharged(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, one, two *party){
		"an offer": func(t *testing.T, one, two *party) {
			o := one.offer(two)
			one.resumed()
			if err := o.Release(); err != nil {
				t.Error(err)
			}
		},
		"a peer link": func(t *testing.T, one, two *party) {
			a, b := pair(t, one, two)
			one.resumed()
			if err := a.Wait(time.Hour); link.CauseOf(err) != link.Lost {
				t.Errorf("the link ends with: %v", err)
			}
			if err := errors.Join(a.Close(), b.Close()); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := link.NewLedger()
				_, one, two := guests(t, link.Options{Ledger: g, RingSize: 1 << 20}, link.Options{MaxRing: 1 << 20})
				one.dom.Suspends = true
				for range 5 {
					end(t, one, two)
					one.dom.Events = one.proc.OpenEvents()
					one.dom.SetID(one.home.ID())
				}
				if one.holds() != 0 {
					t.Errorf("%d pages and ports are held", one.holds())
				}
				if _, err := g.Admit(two.dom.ID()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestAfterAResumeNobodyIsHeldForWhatWasBefore(t *testing.T) {
	g := link.NewLedger()
	for range 5 {
		g.Charge(3, 300)
	}
	if _, err := g.Admit(3); !errors.Is(err, link.ErrHeld) {
		t.Fatal(err)
	}
	g.Forget()
	if wait, err := g.Admit(3); err != nil || wait != 0 {
		t.Errorf("wait %v, %v", wait, err)
	}
}

// A front half that ends because of a resume leaves alone what stands in xenstore:
// the toolstack may have attached the domain again, under the id of before.
func TestAResumeEndsAFrontLinkAsLostAndWritesNothing(t *testing.T) {
	for cause, want := range map[error]struct {
		cause link.Cause
		state string
	}{
		link.ErrResumed:     {link.Lost, xenbus.Connected.String()},
		errors.New("other"): {link.Closed, xenbus.Closed.String()},
	} {
		synctest.Test(t, func(t *testing.T) {
			h, dom0, guest := host(t)
			b := backend(t, dom0, guest, link.Options{})
			defer b.stop()
			var end context.CancelCauseFunc
			f := start(t, guest, link.Options{}, func(d *link.Domain, o link.Options, ctx context.Context, use link.Use) error {
				ctx, end = context.WithCancelCause(ctx)
				return link.NewFront(d, o).Run(ctx, use)
			})
			l := f.link()
			b.link()
			end(cause)
			if err := f.result(); !errors.Is(err, cause) {
				t.Errorf("Run: %v", err)
			}
			if got := link.CauseOf(l.Err()); got != want.cause {
				t.Errorf("the link is %v", got)
			}
			tools := h.Toolstack()
			defer tools.Close()
			text, err := tools.Read(t.Context(), xenbus.FrontPath(guest.ID())+"/state")
			if err != nil {
				t.Fatal(err)
			}
			if state, err := xenbus.ParseState(text); err != nil || state.String() != want.state {
				t.Errorf("after %v the state is %v, %v", cause, state, err)
			}
		})
	}
}

func TestErrResumedIsOfAbandonedChannels(t *testing.T) {
	if !errors.Is(link.ErrResumed, evtchn.ErrAbandoned) {
		t.Error("it is not")
	}
}

// An offer that a resume interrupts is not taken back in xenstore either.
func TestAResumeInterruptsAnOfferAndWritesNothing(t *testing.T) {
	for cause, want := range map[error]xenbus.State{
		link.ErrResumed:     xenbus.Initialised,
		errors.New("other"): xenbus.Closed,
	} {
		synctest.Test(t, func(t *testing.T) {
			h, dom0, guest := host(t)
			b := backend(t, dom0, guest, link.Options{})
			defer b.stop()
			taken := make(chan struct{})
			h.Hook(func(c *sim.Call) error {
				if c.Op == sim.OpInterdomain {
					close(taken)
					h.Hook(nil)
					time.Sleep(time.Second)
				}
				return nil
			})
			var end context.CancelCauseFunc
			f := start(t, guest, link.Options{}, func(d *link.Domain, o link.Options, ctx context.Context, use link.Use) error {
				ctx, end = context.WithCancelCause(ctx)
				return link.NewFront(d, o).Run(ctx, use)
			})
			<-taken
			end(cause)
			if err := f.result(); !errors.Is(err, cause) {
				t.Errorf("Run: %v", err)
			}
			tools := h.Toolstack()
			defer tools.Close()
			text, err := tools.Read(t.Context(), xenbus.FrontPath(guest.ID())+"/state")
			if err != nil {
				t.Fatal(err)
			}
			if state, err := xenbus.ParseState(text); err != nil || state != want {
				t.Errorf("after %v the state is %v, %v", cause, state, err)
			}
		})
	}
}
