package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/daemon"
	"xvsock/evtchn"
	"xvsock/link"
	"xvsock/sim"
	"xvsock/xen"
	"xvsock/xenstore"
)

// Nothing of before is held by then, of whatever link, however long it takes.
func TestPagesAreGivenBackBeforeANewPortExists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.attachAll()
		h.backend()
		opened := 0
		dom := h.Create(sim.DomainConfig{Name: "a"})
		f := resumableWith(daemon.Frontend, func(c *daemon.EventsConfig) {
			open := c.Open
			c.Open = func() (evtchn.Device, error) {
				d, err := open()
				if opened++; err != nil || opened == 1 {
					return d, err
				}
				if n := dom.Granted(); n != 0 {
					t.Errorf("%d pages are still granted", n)
				}
				return d, nil
			}
		})
		a := start(t, dom, f, nil)
		b := start(t, h.Create(sim.DomainConfig{Name: "b"}), resumable(daemon.Frontend), nil)
		answers := func() string { return pings(a.ping("b", 1000), b.ping("a", 1000)) }
		await(t, "ok", 15*time.Second, answers)
		for _, slow := range []string{"link.(*half)", "manager/client"} { // the front link, the peer's
			h.Hook(func(c *sim.Call) error {
				if c.Process == a.proc && c.Op == sim.OpRevoke && strings.Contains(string(debug.Stack()), slow) {
					time.Sleep(100 * time.Millisecond)
				}
				return nil
			})
			a.restore()
			time.Sleep(2 * time.Second)
			h.Hook(nil)
			await(t, "ok", comesBack, answers)
		}
	})
}

// channels are the event channels of a domain that may be suspended, without a
// daemon.
func channels(t *testing.T, dom *sim.Domain) *daemon.Events {
	t.Helper()
	proc := dom.NewProcess()
	store := proc.Xenstore()
	e, err := daemon.OpenEvents(t.Context(), daemon.EventsConfig{
		Store: store, Open: func() (evtchn.Device, error) { return proc.OpenEvents(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(e.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// The second in which a port waits to be unbound goes by while the domain is away.
// It is not enough: that there was no resume has to be asked for.
func TestAPortIsNotUnboundThatWaitedOverASuspend(t *testing.T) {
	for range 20 { // what is wrong depends on who is quicker
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t)
			dom := h.Create(sim.DomainConfig{Name: "a"})
			e := channels(t, dom)
			for range 4 {
				c, err := e.Unbound(0)
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(500 * time.Millisecond)
			if err := dom.Suspend(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			if err := dom.Resume(); err != nil { // misuse fails the test at its end
				t.Fatal(err)
			}
			<-e.Resumed()
			time.Sleep(3 * time.Second)
		})
	}
}

func TestAPortIsUnboundASecondAfterItWasClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		dom := h.Create(sim.DomainConfig{Name: "a"})
		e := channels(t, dom)
		c, err := e.Unbound(0)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		time.Sleep(1099 * time.Millisecond)
		early := dom.Ports()
		time.Sleep(2 * time.Millisecond)
		if late := dom.Ports(); early != 1 || late != 0 {
			t.Errorf("%d ports are bound just before the time has passed, %d after it", early, late)
		}
	})
}

// A resume is acted on also before there is a daemon, and after it.
func TestAResumeIsActedOnWithoutADaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		dom := h.Create(sim.DomainConfig{Name: "a"})
		e := channels(t, dom)
		c, err := e.Unbound(0)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() {
			if err := errors.Join(dom.Suspend(), dom.Resume()); err != nil {
				t.Error(err)
			}
		})
		<-c.Event()
		if err := c.Notify(); !errors.Is(err, evtchn.ErrAbandoned) {
			t.Errorf("Notify: %v", err)
		}
		time.AfterFunc(500*time.Millisecond, func() { // while Close waits
			if err := errors.Join(dom.Suspend(), dom.Resume()); err != nil {
				t.Error(err)
			}
		})
		if err := errors.Join(e.Reopen(), e.Close()); err != nil {
			t.Error(err)
		}
	})
}

// Pages that others held of this domain went with the domain that it was.
func TestWhatWasHeldBeforeAResumeCountsForNothingAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.attachAll()
		back := h.backend()
		g := link.NewLedger()
		a := start(t, h.Create(sim.DomainConfig{Name: "a"}), resumable(daemon.Frontend), func(c *daemon.Config) { c.Link.Ledger = g })
		answers := func() string { return pings(back.ping("a", 1000)) }
		await(t, "ok", 15*time.Second, answers)
		for range 5 {
			g.Charge(0, 300)
		}
		a.restore()
		await(t, "ok", comesBack, answers)
	})
}

// Whoever is bound after a resume is known to rules as what the domain is by then.
func TestAResumedDomainIsRenewedBeforeItsPortsAreOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		dom := h.Create(sim.DomainConfig{Name: "a"})
		var a *node
		var opened atomic.Int64
		f := resumableWith(daemon.Frontend, func(c *daemon.EventsConfig) {
			open := c.Open
			c.Open = func() (evtchn.Device, error) {
				if opened.Add(1) > 1 {
					records, err := a.services("self")
					if err != nil || len(records) == 0 || records[0].Domain != "other" {
						t.Errorf("when the ports are opened its services are %v, %v", records, err)
					}
				}
				return open()
			}
		})
		a = start(t, dom, f, nil)
		time.Sleep(time.Second)
		tools := h.Toolstack()
		defer tools.Close()
		h.Xenstored().OnRequest(func(from xen.DomID, _ xenstore.Op, path string) error {
			if from != 0 && path == "domid" {
				return tools.Write(context.Background(), fmt.Sprintf("/local/domain/%v/name", dom.ID()), "other")
			}
			return nil
		})
		defer h.Xenstored().OnRequest(nil)
		a.restore()
		time.Sleep(time.Second)
		if n := opened.Load(); n != 2 {
			t.Errorf("opened %d times", n)
		}
	})
}

// A backend whose name cannot be read would be known to no rule that names it.
func TestABackendIsNotRenewedWithoutItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.attachTo("store", "web-*")
		dom := h.Create(sim.DomainConfig{Name: "store", DriverDomain: true})
		rules := newRules(t, "echo web-a store allow")
		back := start(t, dom, resumable(daemon.Backend), func(c *daemon.Config) { c.Rules = rules })
		a := start(t, h.Create(sim.DomainConfig{Name: "web-a"}), resumable(daemon.Frontend), nil)
		answers := func() string { return pings(a.ping("@backend", 1000)) }
		await(t, "ok", 15*time.Second, answers)
		var failed atomic.Int64
		h.Xenstored().OnRequest(func(_ xen.DomID, op xenstore.Op, path string) error {
			if path == fmt.Sprintf("/local/domain/%v/name", dom.ID()) && op == xenstore.OpRead && failed.Add(1) <= 3 {
				return syscall.EBUSY
			}
			return nil
		})
		back.restore()
		time.Sleep(10 * time.Second)
		h.Xenstored().OnRequest(nil)
		await(t, "ok", comesBack, answers)
		if n := failed.Load(); n < 4 {
			t.Errorf("the name was asked for %d times", n)
		}
	})
}
