package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/daemon"
	"xvsock/evtchn"
	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/vsock"
	"xvsock/xen"
	"xvsock/xenstore"
)

// resumable runs a daemon with the event channels of a domain that may be suspended,
// and with a keeper.
func resumable(f run) run {
	return resumableWith(f, func(e *daemon.EventsConfig) {})
}

// resumableWith is resumable, but for what change says.
func resumableWith(f run, change func(*daemon.EventsConfig)) run {
	return func(ctx context.Context, cfg daemon.Config) error {
		proc := cfg.Domain.Events.(*sim.Events).Process()
		ec := daemon.EventsConfig{
			Store: cfg.Domain.Store, Log: cfg.Log,
			Open: func() (evtchn.Device, error) { return proc.OpenEvents(), nil },
			Keep: func(d evtchn.Device) error { d.(*sim.Events).Keep(); return nil },
		}
		change(&ec)
		events, err := daemon.OpenEvents(ctx, ec)
		if err != nil {
			return err
		}
		cfg.Domain.Events, cfg.Domain.Suspends = events, true
		return errors.Join(f(ctx, cfg), events.Close())
	}
}

// restore saves and restores the domain of n.
func (n *node) restore() {
	n.t.Helper()
	if err := errors.Join(n.dom.Suspend(), n.dom.Resume()); err != nil {
		n.t.Fatal(err)
	}
}

// attachAll runs the toolstack's watch, which attaches every domain to dom0.
func (h *host) attachAll() { h.attachTo("0", "*") }

// attachTo runs the toolstack's watch, which attaches domains to a backend.
func (h *host) attachTo(backend string, match ...string) {
	h.t.Helper()
	tools := h.Toolstack()
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() {
		done <- toolstack.Watch(ctx, tools, toolstack.WatchConfig{Match: match, Backend: backend})
	}()
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
		tools.Close()
	})
}

// comesBack is how soon after its resume a domain is to answer again.
const comesBack = 5 * time.Second

// endlessPing begins a ping that goes on until something ends it.
func (n *node) endlessPing(domain string) <-chan error {
	done := make(chan error, 1)
	go func() {
		done <- n.control.call(n.t.Context(), daemon.MethodPing, daemon.PingArgs{Domain: domain, Bytes: 1 << 40}, nil)
	}()
	return done
}

// pings is what becomes of pings, "ok" if all of them succeed.
func pings(all ...error) string {
	if err := errors.Join(all...); err != nil {
		return err.Error()
	}
	return "ok"
}

func TestARestoredDomainIsLinkedAgain(t *testing.T) {
	for name, as := range map[string]func(xen.DomID) xen.DomID{
		"under a new id":    func(xen.DomID) xen.DomID { return 0 },
		"under the same id": func(old xen.DomID) xen.DomID { return old },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				h.attachAll()
				back := h.backend()
				a := start(t, h.Create(sim.DomainConfig{Name: "a"}), resumable(daemon.Frontend), nil)
				b := start(t, h.Create(sim.DomainConfig{Name: "b"}), resumable(daemon.Frontend), nil)
				answers := func() string {
					return pings(a.ping("b", 1000), b.ping("a", 1000), back.ping("a", 1000), a.ping("@backend", 1000), a.ping("self", 10))
				}
				await(t, "ok", 15*time.Second, answers)
				for range 3 {
					cut := []<-chan error{a.endlessPing("b"), b.endlessPing("a"), back.endlessPing("a"), a.endlessPing("@backend")}
					time.Sleep(10 * time.Millisecond)
					if err := errors.Join(a.dom.Suspend(), a.dom.ResumeAs(as(a.dom.ID()))); err != nil {
						t.Fatal(err)
					}
					resumed := time.Now()
					for i, p := range cut {
						if err := <-p; err == nil {
							t.Errorf("connection %d outlived the suspend", i)
						}
						if d := time.Since(resumed); d > time.Second {
							t.Errorf("connection %d ended after %v", i, d)
						}
					}
					await(t, "ok", comesBack, answers)
					t.Logf("came back after %v", time.Since(resumed))
					if got := a.status().Domain; got != uint16(a.dom.ID()) {
						t.Errorf("status says domain %d, it is %v", got, a.dom.ID())
					}
					records, err := back.services("a")
					if err != nil || len(records) == 0 || records[0].CID != vsock.CIDOf(a.dom.ID()) {
						t.Errorf("the directory says: %v, %v", records, err)
					}
				}
				time.Sleep(2 * time.Second)
				if a.dom.Ports() > 4 { // two of each link
					t.Errorf("%d ports", a.dom.Ports())
				}
			})
		})
	}
}

func TestADomainIsRestoredBeforeItIsAttached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		back := h.backend()
		a := start(t, h.Create(sim.DomainConfig{Name: "a"}), resumable(daemon.Frontend), nil)
		a.restore()
		time.Sleep(time.Second)
		a.restore()
		h.attach(a.dom)
		await(t, "ok", comesBack, func() string { return pings(back.ping("a", 1000), a.ping("@backend", 1000)) })
	})
}

// The toolstack follows the backend by its name.
func TestABackendThatIsRestoredServesItsFrontendsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.attachTo("store", "web-*")
		dom := h.Create(sim.DomainConfig{Name: "store", DriverDomain: true})
		rules := newRules(t, "* * * allow")
		back := start(t, dom, resumable(daemon.Backend), func(c *daemon.Config) { c.Rules = rules })
		a := start(t, h.Create(sim.DomainConfig{Name: "web-a"}), resumable(daemon.Frontend), nil)
		b := start(t, h.Create(sim.DomainConfig{Name: "web-b"}), resumable(daemon.Frontend), nil)
		answers := func() string {
			return pings(a.ping("web-b", 1000), back.ping("web-a", 1000), b.ping("@backend", 1000), back.ping("self", 10))
		}
		await(t, "ok", 15*time.Second, answers)
		for range 2 {
			back.restore()
			await(t, "ok", 2*comesBack, answers)
			if got := back.list("self"); !strings.Contains(got, "store/echo") {
				t.Errorf("the backend's own services: %s", got)
			}
			if got := back.status(); got.Domain != uint16(dom.ID()) || len(got.Links) != 2 {
				t.Errorf("status: %+v", got)
			}
			if got := a.list("@backend"); !strings.Contains(got, "store/echo") {
				t.Errorf("its services as a frontend sees them: %s", got)
			}
			var reply daemon.PolicyReply
			if err := back.control.call(t.Context(), daemon.MethodPolicy, nil, &reply); err != nil || reply.Domains[0].Domain != uint16(dom.ID()) {
				t.Errorf("domains as rules see them: %+v, %v", reply.Domains, err)
			}
			b.restore()
			await(t, "ok", 2*comesBack, answers)
		}
		time.Sleep(2 * time.Second)
		rules.set("echo web-a @backend allow")
		await(t, "only what is allowed", comesBack, func() string {
			if a.ping("@backend", 10) == nil && b.ping("@backend", 10) != nil {
				return "only what is allowed"
			}
			return "else"
		})
	})
}

// What a killed process leaves of before a resume is held by its keeper, and the next
// daemon of the domain begins anew.
func TestADaemonIsKilledAfterAResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.attachAll()
		back := h.backend()
		a := start(t, h.Create(sim.DomainConfig{Name: "a"}), resumable(daemon.Frontend), nil)
		answers := func() string { return pings(back.ping("a", 1000)) }
		await(t, "ok", 15*time.Second, answers)
		a.restore()
		await(t, "ok", comesBack, answers)
		a.kill()
		start(t, a.dom, resumable(daemon.Frontend), nil)
		await(t, "ok", 15*time.Second, answers)
	})
}

func TestADaemonIsStoppedAtAnyMomentOfAResume(t *testing.T) {
	for _, after := range []time.Duration{0, time.Microsecond, 50 * time.Millisecond, 200 * time.Millisecond, 999 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t)
			h.attachAll()
			back := h.backend()
			a := start(t, h.Create(sim.DomainConfig{Name: "a"}), resumable(daemon.Frontend), nil)
			await(t, "ok", 15*time.Second, func() string { return pings(back.ping("a", 1000)) })
			a.restore()
			time.Sleep(after)
			begun := time.Now()
			if err := a.stop(); err != nil {
				t.Errorf("stopped after %v: %v", after, err)
			}
			if took := time.Since(begun); took > 4*time.Second {
				t.Errorf("it took %v", took)
			}
			if n := a.dom.Ports() + a.dom.Granted(); n != 0 {
				t.Errorf("stopped after %v: %d ports and pages are left", after, n)
			}
		})
	}
}

func TestAResumeWithoutEventChannels(t *testing.T) {
	for _, tt := range []struct {
		fails int
		want  string
	}{{5, "ok"}, {1000, "come back from a resume: no device"}} {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t)
			h.attachAll()
			back := h.backend()
			var opened atomic.Int64
			f := resumableWith(daemon.Frontend, func(c *daemon.EventsConfig) {
				open := c.Open
				c.Open = func() (evtchn.Device, error) {
					if n := opened.Add(1); n > 1 && n <= int64(1+tt.fails) {
						return nil, errors.New("no device")
					}
					return open()
				}
			})
			a := start(t, h.Create(sim.DomainConfig{Name: "a"}), f, nil)
			await(t, "ok", 15*time.Second, func() string { return pings(back.ping("a", 1000)) })
			a.restore()
			got := ""
			if tt.want == "ok" {
				time.Sleep(10 * time.Second)
				got = pings(back.ping("a", 1000))
			} else {
				got = fmt.Sprint(a.result())
			}
			if got != tt.want {
				t.Errorf("%d times no device: %s", tt.fails, got)
			}
		})
	}
}

// The toolstack may give a domain another name when it restores it; a label that a
// person gave stays.
func TestARestoredDomainGoesByItsNewName(t *testing.T) {
	for label, want := range map[string]string{"": "other", "label": "label"} {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t)
			dom := h.Create(sim.DomainConfig{Name: "a"})
			a := start(t, dom, resumable(daemon.Frontend), func(c *daemon.Config) {
				if label != "" {
					c.Name = label
				}
			})
			synctest.Wait()
			tools := h.Toolstack()
			defer tools.Close()
			if err := dom.Suspend(); err != nil {
				t.Fatal(err)
			}
			h.Xenstored().OnRequest(func(from xen.DomID, _ xenstore.Op, path string) error {
				if from != 0 && path == "domid" {
					return tools.Write(context.Background(), fmt.Sprintf("/local/domain/%v/name", dom.ID()), "other")
				}
				return nil
			})
			if err := dom.Resume(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			h.Xenstored().OnRequest(nil)
			if got := a.status().Name; got != want {
				t.Errorf("with label %q: %q, want %q", label, got, want)
			}
			records, err := a.services("self")
			if err != nil || len(records) == 0 || records[0].Domain != want {
				t.Errorf("with label %q: its services: %v, %v", label, records, err)
			}
		})
	}
}

// The kernel of a domain that may be suspended sends no event when a process dies.
func TestTheDeathOfADaemonThatMayBeSuspendedIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.attachAll()
		back := h.backend()
		a := start(t, h.Create(sim.DomainConfig{Name: "a"}), resumable(daemon.Frontend), nil)
		b := start(t, h.Create(sim.DomainConfig{Name: "b"}), resumable(daemon.Frontend), nil)
		await(t, "ok", 15*time.Second, func() string { return pings(b.ping("a", 1000), back.ping("a", 1000)) })
		cut := []<-chan error{back.endlessPing("a"), b.endlessPing("a")}
		time.Sleep(10 * time.Millisecond)
		a.proc.Kill()
		killed := time.Now()
		for i, p := range cut {
			if err := <-p; err == nil || time.Since(killed) > 2*time.Second {
				t.Errorf("connection %d: %v after %v", i, err, time.Since(killed))
			}
		}
		a.stop()
	})
}
