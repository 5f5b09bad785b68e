package client_test

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/link"
	"xvsock/manager"
	"xvsock/manager/policy"
	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/vsock"
)

// house is a host with the real manager in domain 0.
type house struct {
	t       *testing.T
	host    *sim.Host
	manager *manager.Manager
	kill    func() // the manager
}

func newHouse(t *testing.T) *house {
	h := &house{t: t, host: sim.NewTest(t)}
	h.startManager()
	t.Cleanup(func() { h.kill() })
	return h
}

// startManager starts the manager in a new process of domain 0.
func (h *house) startManager() {
	proc := h.host.Domain(0).NewProcess()
	store := proc.Xenstore()
	m := manager.New(manager.Config{
		Domain: link.NewDomain(0, proc.Grants(), proc.Events(), store),
		Self:   policy.Domain{Name: "Domain-0"},
	})
	stack := vsock.NewStack(vsock.Config{Backend: true, Guard: m})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx, stack) }()
	h.manager = m
	h.kill = sync.OnceFunc(func() {
		proc.Kill()
		cancel()
		stack.Close()
		<-done
		store.Close()
	})
}

// policy puts rules in force.
func (h *house) policy(rules ...string) {
	h.t.Helper()
	set, err := policy.Parse([]policy.File{{Name: "test", Text: strings.Join(rules, "\n")}})
	if err != nil {
		h.t.Fatal(err)
	}
	h.manager.SetPolicy(set)
}

// frontend makes a domain, attaches it, and runs its daemon.
func (h *house) frontend(name string) *node {
	h.t.Helper()
	dom := h.host.Create(sim.DomainConfig{Name: name})
	tools := h.host.Toolstack()
	defer tools.Close()
	who := toolstack.Domain{ID: dom.ID(), Name: name, UUID: dom.UUID()}
	if err := toolstack.Attach(h.t.Context(), tools, who, toolstack.Domain{}, nil); err != nil {
		h.t.Fatal(err)
	}
	n := newNode(h.t, dom)
	store := n.proc.Xenstore()
	d := link.NewDomain(dom.ID(), n.proc.Grants(), n.proc.Events(), store)
	ctx, cancel := context.WithCancel(context.Background())
	var half sync.WaitGroup
	half.Go(func() {
		link.NewFront(d, link.Options{}).Run(ctx, func(ctx context.Context, l *link.Link) error {
			var met sync.WaitGroup
			ctx, stop := context.WithCancel(ctx)
			met.Go(func() { n.client.Join(ctx, n.stack, l, func() {}) })
			err := n.stack.Serve(l, vsock.ToBackend, nil)
			stop()
			met.Wait()
			return err
		})
	})
	h.t.Cleanup(func() {
		n.stop()
		cancel()
		half.Wait()
		store.Close()
	})
	return n
}

func TestWithTheRealManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		x, y := h.frontend("x"), h.frontend("y")
		y.echo(7)
		x.echo(8)
		time.Sleep(5 * time.Second)
		x.dial(y.id(), 7).fails(syscall.EHOSTUNREACH)
		h.policy("7,9 x y allow", "8 y x allow")
		x.await(y.id(), "idle", time.Second)
		y.await(x.id(), "idle", time.Second)
		x.dial(y.id(), 8).fails(syscall.EACCES)

		// Both ask at once: one link.
		dx, dy := x.dial(y.id(), 7), y.dial(x.id(), 8)
		c := dx.made()
		works(t, c)
		works(t, dy.made())
		time.Sleep(3 * time.Second)
		x.holds(linkPages+1+2*link.DefaultRingSize/4096, 4)
		works(t, c)

		// The manager is killed and started again, with the same policy.
		h.kill()
		works(t, c)
		h.startManager()
		h.policy("7,9 x y allow", "8 y x allow")
		time.Sleep(10 * time.Second)
		works(t, c)
		if p := x.client.Peers(); len(p) != 1 || p[0].State != "up" || p[0].Name != "y" {
			t.Errorf("peers: %+v", p)
		}

		// It is revoked: over within a second, and confirmed.
		h.policy("8 y x allow")
		revoked(t, c)
		time.Sleep(time.Second)
		if _, left := h.manager.Progress(); left != 0 {
			t.Errorf("%d frontends have not confirmed", left)
		}
		x.dial(y.id(), 7).fails(syscall.EHOSTUNREACH)
		works(t, y.dial(x.id(), 8).made())
	})
}

// Requests that cross at every distance of their beginnings make one link.
func TestCrossingAtEveryDistance(t *testing.T) {
	for delay := range 40 {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t)
			x, y := h.frontend("x"), h.frontend("y")
			y.echo(7)
			x.echo(7)
			h.policy("7 * * allow")
			time.Sleep(5 * time.Second)
			// Each call to a device takes its time, another one each time.
			h.host.Hook(func(c *sim.Call) error {
				if c.Op == sim.OpShare || c.Op == sim.OpInterdomain {
					time.Sleep(time.Duration(1+c.Pages%3) * time.Millisecond)
				}
				return nil
			})
			dx := x.dial(y.id(), 7)
			time.Sleep(time.Duration(delay) * time.Millisecond / 4)
			dy := y.dial(x.id(), 7)
			works(t, dx.made())
			works(t, dy.made())
			h.host.Hook(nil)
			for _, n := range []*node{x, y} {
				for _, p := range n.stack.Peers() {
					if p.Kind == vsock.ToBackend {
						continue
					}
					if p.Generation != generation(x, y) {
						t.Errorf("%d ms/4: two links", delay)
					}
				}
			}
		})
	}
}

// generation is of n's link to other.
func generation(n, other *node) uint64 {
	for _, p := range n.client.Peers() {
		if p.Domain == other.id() {
			return p.Generation
		}
	}
	return 0
}
