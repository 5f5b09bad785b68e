package link_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/grant"
	"xvsock/link"
	"xvsock/ring"
	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// guestWrites writes nodes of the frontend's directory with the guest's own
// rights.
func guestWrites(t *testing.T, p *sim.Process, nodes ...xenbus.Node) {
	t.Helper()
	store := p.Xenstore()
	defer store.Close()
	err := store.Transaction(t.Context(), func(tx *xenstore.Tx) error {
		for _, n := range nodes {
			if err := tx.Write(t.Context(), xenbus.FrontPath(p.Domain().ID())+"/"+n.Name, n.Value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Behaviours 8 and 17 of a hostile frontend: whatever stands in its nodes, the
// backend holds nothing for it afterwards, and serves it once the nodes are
// right. The leak check is the host's.
func TestBackendSurvivesAnyNodes(t *testing.T) {
	good := map[string]string{"version": "1", "header-ref": "8", "event-channel-from": "1", "event-channel-to": "2"}
	for name, bad := range map[string]map[string]string{
		"a version that nobody offers":       {"version": "2"},
		"a version that is not a number":     {"version": "\x1b[2J"},
		"a reference that is not granted":    {"header-ref": "31000"},
		"the reserved reference of xenstore": {"header-ref": "1"},
		"a reference beyond every table":     {"header-ref": "4294967295"},
		"a reference that is too long":       {"header-ref": "4294967296"},
		"a negative reference":               {"header-ref": "-1"},
		"a reference with a sign":            {"header-ref": "+8"},
		"a reference with zeroes before it":  {"header-ref": "0008"},
		"an empty reference":                 {"header-ref": ""},
		"two kilobytes of text":              {"header-ref": strings.Repeat("9", 2000)},
		"a port that does not exist":         {"event-channel-from": "4000"},
		"a port beyond every table":          {"event-channel-to": "4294967295"},
		"a port that is a path":              {"event-channel-to": "../../0/domid"},
		"a port with a NUL":                  {"event-channel-from": "1\x002"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, dom0, guest := host(t)
				evil := guest.NewProcess()
				b := backend(t, dom0, guest, link.Options{})
				synctest.Wait()
				nodes := []xenbus.Node{{Name: "state", Value: "3"}}
				for n, v := range good {
					if w, ok := bad[n]; ok {
						v = w
					}
					nodes = append(nodes, xenbus.Node{Name: n, Value: v})
				}
				guestWrites(t, evil, nodes...)
				synctest.Wait()
				if len(b.links) != 0 {
					t.Error("a link formed")
				}
				if n := dom0.Granted() + dom0.Ports(); n != 0 {
					t.Errorf("backend holds %d pages and %d ports for a frontend that lied", dom0.Granted(), dom0.Ports())
				}
				evil.Kill()
				f := frontend(t, guest, link.Options{})
				exchange(t, f.link(), b.link())
				f.stop()
				b.stop()
			})
		})
	}
}

// offerHeader grants a header page with the given change, and two ports, and
// announces them as a frontend does.
func offerHeader(t *testing.T, p *sim.Process, change func(page []byte, to xen.DomID)) {
	t.Helper()
	header, err := p.Grants().Share(0, 1, grant.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	from, err1 := p.Grants().Share(0, 1, grant.ReadOnly)
	to, err2 := p.Grants().Share(0, 1, grant.Writable)
	c1, err3 := p.Events().Unbound(0)
	c2, err4 := p.Events().Unbound(0)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	if err := ring.Format(header.Bytes(), ring.Static{
		Generation: 1, TxSize: xen.PageSize, RxSize: xen.PageSize,
		TxRefs: []uint32{uint32(from.Refs()[0])}, RxRefs: []uint32{uint32(to.Refs()[0])},
	}); err != nil {
		t.Fatal(err)
	}
	sim.Poke(header.Bytes(), func(page []byte) { change(page, 0) })
	guestWrites(t, p,
		xenbus.Node{Name: "version", Value: "1"},
		xenbus.Node{Name: "header-ref", Value: fmt.Sprint(header.Refs()[0])},
		xenbus.Node{Name: "event-channel-from", Value: fmt.Sprint(c1.Port())},
		xenbus.Node{Name: "event-channel-to", Value: fmt.Sprint(c2.Port())},
		xenbus.Node{Name: "state", Value: "3"})
}

// A header page that lies breaks the link before it stands, and rule R5 keeps the
// frontend out for 30 s.
func TestHeaderThatLiesKeepsTheFrontendOut(t *testing.T) {
	for name, change := range map[string]func(page []byte, to xen.DomID){
		"wrong magic":           func(p []byte, _ xen.DomID) { p[0]++ },
		"unknown version":       func(p []byte, _ xen.DomID) { p[4] = 9 },
		"no rings":              func(p []byte, _ xen.DomID) { clear(p[16:24]) },
		"ring of odd size":      func(p []byte, _ xen.DomID) { p[16] = 1 },
		"ring beyond the limit": func(p []byte, _ xen.DomID) { p[19] = 0x7f },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, dom0, guest := host(t)
				evil := guest.NewProcess()
				b := backend(t, dom0, guest, link.Options{})
				synctest.Wait()
				begin := time.Now()
				offerHeader(t, evil, change)
				synctest.Wait()
				evil.Kill()
				f := frontend(t, guest, link.Options{})
				f.link()
				if wait := time.Since(begin); wait < 30*time.Second {
					t.Errorf("link formed %v after the lie, want at least 30 s", wait)
				}
				b.link()
				f.stop()
				b.stop()
			})
		})
	}
}

// A word that lies on a link that is up breaks that link at the next look, and
// nothing else: the link of an honest neighbour goes on (rules R2, R3, R5).
func TestWordThatLiesBreaksOnlyThatLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dom0, guest := host(t)
		honest := h.Create(sim.DomainConfig{Name: "honest"})
		attach(t, h, honest)
		f, b := frontend(t, guest, link.Options{}), backend(t, dom0, guest, link.Options{})
		hf, hb := frontend(t, honest, link.Options{}), backend(t, dom0, honest, link.Options{})
		fl, bl := f.link(), b.link()
		hfl, hbl := hf.link(), hb.link()
		exchange(t, fl, bl)

		store := h.Toolstack()
		defer store.Close()
		ref, err := store.ReadUint(t.Context(), xenbus.FrontPath(guest.ID())+"/header-ref", 1<<32-1)
		if err != nil {
			t.Fatal(err)
		}
		sim.Poke(guest.Page(grant.Ref(ref)), func(page []byte) {
			for i := range 8 { // producer and its complement, far beyond the ring
				page[ring.MovingOffset+8+i], page[ring.MovingOffset+16+i] = 0x7f, 0x80
			}
		})
		if err := bl.Wait(time.Second); link.CauseOf(err) != link.Broken {
			t.Fatalf("Wait returned %v, want broken", err)
		}
		exchange(t, hfl, hbl)
		for _, s := range []*side{f, hf, b, hb} {
			s.stop()
		}
	})
}

// The frontend's nodes are read once: what they say later changes nothing
// (behaviour 7).
func TestNodesAreNotReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dom0, guest := host(t)
		f, b := frontend(t, guest, link.Options{}), backend(t, dom0, guest, link.Options{})
		fl, bl := f.link(), b.link()
		guestWrites(t, f.proc,
			xenbus.Node{Name: "header-ref", Value: "77"},
			xenbus.Node{Name: "event-channel-from", Value: "99"},
			xenbus.Node{Name: "version", Value: "x"})
		exchange(t, fl, bl)
		f.stop()
		b.stop()
	})
}

// Every state that a frontend may write, after every other (behaviour 18): the
// backend never stops, and serves the frontend once it behaves.
func TestBackendSurvivesAnyOrderOfStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dom0, guest := host(t)
		b := backend(t, dom0, guest, link.Options{})
		evil := guest.NewProcess()
		for from := range 10 {
			for to := range 10 {
				guestWrites(t, evil, xenbus.Node{Name: "state", Value: fmt.Sprint(from)})
				guestWrites(t, evil, xenbus.Node{Name: "state", Value: fmt.Sprint(to)})
				synctest.Wait()
			}
		}
		evil.Kill()
		if n := dom0.Granted() + dom0.Ports(); n != 0 {
			t.Errorf("backend holds %d pages and ports", n)
		}
		f := frontend(t, guest, link.Options{})
		exchange(t, f.link(), b.link())
		f.stop()
		b.stop()
	})
}

// inviting writes the state of a backend that waits for its frontend, guest, for
// ever.
func inviting(t *testing.T, store *xenstore.Client, guest *sim.Domain) {
	t.Helper()
	back := xenbus.BackPath(0, guest.ID())
	err := errors.Join(store.Write(t.Context(), back+"/versions", "1"), store.Write(t.Context(), back+"/state", "2"))
	if err != nil {
		t.Fatal(err)
	}
}

// A backend that never connects costs its frontend nothing for longer than the
// handshake's bound (rule R6).
func TestFrontendTakesItsOfferBackWhenNobodyConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, guest := host(t)
		store := h.Toolstack()
		defer store.Close()
		inviting(t, store, guest)
		f := frontend(t, guest, link.Options{})
		synctest.Wait()
		if n := guest.Granted(); n != 33 {
			t.Fatalf("frontend offers %d pages, want 33", n)
		}
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if n := guest.Granted() + guest.Ports(); n != 0 {
			t.Errorf("frontend still offers %d pages and ports after 10 s", n)
		}
		f.stop()
	})
}

// Out of grants, the frontend says so, holds nothing, and forms the link once
// there are some.
func TestFrontendWithoutGrantsTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := sim.NewTest(t)
		guest := h.Create(sim.DomainConfig{Name: "guest", GrantLimit: 40})
		attach(t, h, guest)
		other := guest.NewProcess()
		taken, err := other.Grants().Share(0, 20, grant.ReadOnly)
		if err != nil {
			t.Fatal(err)
		}
		f, b := frontend(t, guest, link.Options{}), backend(t, h.Domain(0), guest, link.Options{})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := guest.Granted() - 20 + guest.Ports(); n != 0 || len(f.links) != 0 {
			t.Errorf("frontend holds %d pages and ports, and has %d links", n, len(f.links))
		}
		if err := taken.Revoke(); err != nil {
			t.Fatal(err)
		}
		exchange(t, f.link(), b.link())
		f.stop()
		b.stop()
		other.Kill()
	})
}

// A call that fails at any point of the handshake leaves nothing behind: each
// call of the frontend, then of the backend, is made to fail once.
func TestHandshakeThatFailsAnywhereLeavesNothing(t *testing.T) {
	injected := errors.New("injected")
	for k := 1; ; k++ {
		reached := false
		t.Run(fmt.Sprintf("call %d", k), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, dom0, guest := host(t)
				calls := make(chan struct{}, 1000)
				h.Hook(func(c *sim.Call) error {
					if c.Op == sim.OpRevoke || c.Op == sim.OpClose || c.Op == sim.OpUnmask {
						return nil
					}
					calls <- struct{}{}
					if len(calls) == k {
						reached = true
						return injected
					}
					return nil
				})
				f, b := frontend(t, guest, link.Options{}), backend(t, dom0, guest, link.Options{})
				f.link()
				b.link()
				time.Sleep(20 * time.Second) // an end of the handshake may have been alone in it
				h.Hook(nil)
				f.stop()
				b.stop()
				if n := guest.Granted() + guest.Ports() + dom0.Granted() + dom0.Ports(); n != 0 {
					t.Errorf("%d pages and ports are left", n)
				}
			})
		})
		if !reached {
			if k < 12 {
				t.Errorf("the handshake has only %d calls", k-1)
			}
			return
		}
	}
}

// A peer that makes and unmakes the link as fast as it can is held to the
// bucket, and to the cap on pages that it may still hold (behaviour 11).
func TestLedgerBoundsWhatAPeerMayHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := link.NewLedger()
		for i := range 5 {
			if wait, err := g.Admit(3); wait != 0 || err != nil {
				t.Fatalf("attempt %d: %v, %v", i, wait, err)
			}
		}
		if wait, _ := g.Admit(3); wait < 4*time.Second || wait > 5*time.Second {
			t.Errorf("sixth attempt at once waits %v, want 5 s", wait)
		}
		if wait, _ := g.Admit(4); wait != 0 {
			t.Errorf("another peer waits %v", wait)
		}
		time.Sleep(time.Hour)
		g.Charge(3, 512)
		if _, err := g.Admit(3); err != nil {
			t.Errorf("at the cap: %v", err)
		}
		for range 2 { // of the largest rings an honest peer ends a few in two minutes
			g.Charge(3, 257)
			if _, err := g.Admit(3); err != nil {
				t.Errorf("over the cap by a few links: %v", err)
			}
		}
		g.Charge(3, 1)
		if _, err := g.Admit(3); !errors.Is(err, link.ErrHeld) {
			t.Errorf("over the cap: %v, want %v", err, link.ErrHeld)
		}
		if _, err := g.Admit(4); err != nil {
			t.Errorf("another peer: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if _, err := g.Admit(3); err != nil {
			t.Errorf("after two minutes: %v", err)
		}
	})
}

// In steady state a message costs the sender one event and the receiver one copy,
// and nothing polls.
func TestOneCopyAndOneEventAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dom0, guest := host(t)
		f, b := frontend(t, guest, link.Options{}), backend(t, dom0, guest, link.Options{NoPoll: true})
		fl, bl := f.link(), b.link()
		exchange(t, fl, bl)
		before := dom0.Counts()
		const n = 50
		for range n {
			got := make(chan struct{})
			go func() {
				receive(t, bl, 64)
				close(got)
			}()
			synctest.Wait() // the backend sleeps
			send(t, fl, make([]byte, 64))
			<-got
		}
		c := dom0.Counts().Minus(before)
		if c.CopyIoctls > n+1 {
			t.Errorf("%d messages cost the backend %d copy ioctls, want one each", n, c.CopyIoctls)
		}
		idle := dom0.Counts()
		go bl.Wait(0)
		time.Sleep(time.Hour)
		if c := dom0.Counts().Minus(idle); c.CopyIoctls+c.Notifies > 0 {
			t.Errorf("an idle hour cost %+v", c)
		}
		f.stop()
		b.stop()
	})
}

// Polling and not polling ends understand each other (wake-up rules W1-W4).
func TestPollingEnds(t *testing.T) {
	for name, polls := range map[string][2]bool{
		"both poll":          {true, true},
		"the frontend polls": {true, false},
		"the backend polls":  {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, dom0, guest := host(t)
			f := frontend(t, guest, link.Options{NoPoll: !polls[0]})
			b := backend(t, dom0, guest, link.Options{NoPoll: !polls[1]})
			fl, bl := f.link(), b.link()
			for range 3 {
				link.Heat(fl)
				link.Heat(bl)
				exchange(t, fl, bl)
			}
			f.stop()
			b.stop()
		})
	}
}

// A frontend whose own node holds nonsense waits for better; it does not spin.
func TestFrontendWithNonsenseForABackendWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dom0, guest := host(t)
		guestWrites(t, guest.Process(), xenbus.Node{Name: "backend-id", Value: "no domain"})
		requests := 0
		h.Xenstored().OnRequest(func(xen.DomID, xenstore.Op, string) error { requests++; return nil })
		f := frontend(t, guest, link.Options{})
		time.Sleep(time.Minute)
		synctest.Wait()
		if requests > 50 {
			t.Errorf("%d xenstore requests in a minute of waiting", requests)
		}
		h.Xenstored().OnRequest(nil)
		guestWrites(t, guest.Process(), xenbus.Node{Name: "backend-id", Value: "0"})
		b := backend(t, dom0, guest, link.Options{})
		exchange(t, f.link(), b.link())
		f.stop()
		b.stop()
	})
}

// A frontend cannot have the backend spend more memory on it than the backend
// allows.
func TestRingsBeyondTheBackendsBoundAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dom0, guest := host(t)
		f := frontend(t, guest, link.Options{RingSize: 2 * link.DefaultRingSize})
		b := backend(t, dom0, guest, link.Options{})
		time.Sleep(time.Minute)
		if len(b.links) != 0 || len(f.links) != 0 {
			t.Error("a link formed")
		}
		f.kill()
		f = frontend(t, guest, link.Options{RingSize: link.DefaultRingSize / 4})
		exchange(t, f.link(), b.link())
		f.stop()
		b.stop()
	})
}

// An offer that nobody took stands no longer in xenstore once it is revoked.
func TestAnOfferIsWithdrawnBeforeItIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, guest := host(t)
		store := h.Toolstack()
		defer store.Close()
		inviting(t, store, guest)
		state := make(chan string, 1)
		h.Hook(func(c *sim.Call) error {
			if c.Op == sim.OpRevoke && len(state) == 0 {
				v, _ := store.Read(t.Context(), xenbus.FrontPath(guest.ID())+"/state")
				state <- v
			}
			return nil
		})
		f := frontend(t, guest, link.Options{})
		if got := <-state; got != "1" {
			t.Errorf("at the revocation the frontend's state is %s, want 1", got)
		}
		h.Hook(nil)
		f.stop()
	})
}

// A backend that lied is left for 30 s, but not its frontend's toolstack: a move
// in that time takes effect at once.
func TestAMoveEndsThePauseAfterALie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, guest := host(t)
		other := h.Create(sim.DomainConfig{Name: "other"})
		store := h.Toolstack()
		defer store.Close()
		back := xenbus.BackPath(0, guest.ID())
		f := frontend(t, guest, link.Options{})
		for _, n := range []xenbus.Node{{Name: "versions", Value: "1"}, {Name: "state", Value: "2"},
			{Name: "header-ref", Value: "nonsense"}, {Name: "state", Value: "4"}} {
			if err := store.Write(t.Context(), back+"/"+n.Name, n.Value); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		time.Sleep(time.Second) // in the pause
		front := toolstack.Domain{ID: guest.ID(), Name: guest.Name(), UUID: guest.UUID()}
		if err := toolstack.Attach(t.Context(), store, front, toolstack.Domain{ID: other.ID(), Name: other.Name()}, nil); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		b := backend(t, other, guest, link.Options{})
		exchange(t, f.link(), b.link())
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("the link to the new backend formed after %v", took)
		}
		f.stop()
		b.stop()
	})
}

// A position that stays half stored for ever does not keep a polling side awake
// for ever, nor asleep: it ends the link.
func TestAPositionThatNeverSettlesBreaksTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dom0, guest := host(t)
		f, b := frontend(t, guest, link.Options{}), backend(t, dom0, guest, link.Options{})
		fl, bl := f.link(), b.link()
		exchange(t, fl, bl)
		store := h.Toolstack()
		defer store.Close()
		ref, err := store.ReadUint(t.Context(), xenbus.FrontPath(guest.ID())+"/header-ref", 1<<32-1)
		if err != nil {
			t.Fatal(err)
		}
		sim.Poke(guest.Page(grant.Ref(ref)), func(page []byte) { page[ring.MovingOffset+16] ^= 1 })
		// The clock of the bubble moves only while all sleep, which polling does
		// not: every copy takes a little.
		h.Hook(func(c *sim.Call) error {
			if c.Op == sim.OpCopy {
				time.Sleep(100 * time.Microsecond)
			}
			return nil
		})
		for err = nil; err == nil; {
			link.Heat(bl)
			_, err = bl.Poll()
		}
		if link.CauseOf(err) != link.Broken {
			t.Errorf("Wait returned %v, want broken", err)
		}
		h.Hook(nil)
		f.stop()
		b.stop()
	})
}
