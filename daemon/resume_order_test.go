package daemon_test

import (
	"errors"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/daemon"
	"xvsock/evtchn"
	"xvsock/link"
	"xvsock/sim"
)

// A device has ports of its own, and with them the numbers of before. No page may be
// left by then whose end sends an event, of whatever link, however long it takes.
func TestPagesAreGivenBackBeforeANewPortExists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.attachAll()
		h.backend()
		opened := 0
		f := resumableWith(daemon.Frontend, func(c *daemon.EventsConfig) {
			open := c.Open
			c.Open = func() (evtchn.Device, error) {
				d, err := open()
				if opened++; err != nil || opened == 1 {
					return d, err
				}
				for range 10 * opened { // more than there were before
					if _, err := d.Unbound(0); err != nil {
						return nil, err
					}
				}
				return d, nil
			}
		})
		a := start(t, h.Create(sim.DomainConfig{Name: "a"}), f, nil)
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
		time.Sleep(999 * time.Millisecond)
		early := dom.Ports()
		time.Sleep(2 * time.Millisecond)
		if late := dom.Ports(); early != 1 || late != 0 {
			t.Errorf("%d ports are bound just before a second has passed, %d after it", early, late)
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
