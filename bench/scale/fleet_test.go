// Package scale holds what a backend with many frontends costs, on a simulated host:
// tests that a frontend costs as much beside 499 others as beside nine, and a
// benchmark of memory, processor time and latency.
package scale

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"xvsock/daemon"
	"xvsock/link"
	"xvsock/manager/policy"
	"xvsock/manager/policy/source"
	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/xenstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clientsOfOneServer is a policy as a host with many service domains has it: all may
// use a service of the backend's domain, and one of a domain that serves them all.
const clientsOfOneServer = "7 * @backend allow\n7000 * server allow"

// fleet is a host with a backend in dom0 and frontends, all run by the daemon that
// real domains run.
type fleet struct {
	tb     testing.TB
	host   *sim.Host
	tools  *xenstore.Client
	fronts []*sim.Domain
}

// newFleet starts a host with a backend and no frontends.
func newFleet(tb testing.TB, rules string) *fleet {
	tb.Helper()
	set, err := policy.Parse([]policy.File{{Name: "scale.policy", Text: rules}})
	if err != nil {
		tb.Fatal(err)
	}
	f := &fleet{tb: tb, host: sim.NewTest(tb)}
	f.tools = f.host.Toolstack()
	tb.Cleanup(func() { f.tools.Close() })
	f.run(f.host.Domain(0), daemon.Backend, constant{set, make(chan struct{})})
	return f
}

// run runs a daemon in dom until the test ends, and returns once its services listen.
func (f *fleet) run(dom *sim.Domain, run func(context.Context, daemon.Config) error, rules daemon.Rules) {
	f.tb.Helper()
	p := dom.NewProcess()
	store := p.Xenstore()
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		defer store.Close()
		err := run(ctx, daemon.Config{
			Domain: link.NewDomain(dom.ID(), p.Grants(), p.Events(), store), Name: dom.Name(), Version: "test",
			Services: daemon.Builtin(), Rules: rules, Ready: func() { close(ready) },
		})
		if err != nil {
			f.tb.Errorf("daemon of %s: %v", dom.Name(), err)
		}
	})
	f.tb.Cleanup(func() {
		cancel()
		running.Wait()
	})
	<-ready
}

// add starts so many more frontends. Their links may come later.
func (f *fleet) add(n int) {
	f.tb.Helper()
	for range n {
		dom := f.host.Create(sim.DomainConfig{Name: fmt.Sprint("client-", len(f.fronts))})
		f.attach(dom)
		f.run(dom, daemon.Frontend, nil)
		f.fronts = append(f.fronts, dom)
	}
}

// attach attaches a domain to dom0.
func (f *fleet) attach(dom *sim.Domain) {
	f.tb.Helper()
	d := toolstack.Domain{ID: dom.ID(), Name: dom.Name(), UUID: dom.UUID()}
	if err := toolstack.Attach(f.tb.Context(), f.tools, d, toolstack.Domain{}, nil); err != nil {
		f.tb.Fatal(err)
	}
}

// constant is rules that do not change. It implements daemon.Rules.
type constant struct {
	set   *policy.Set
	ready chan struct{}
}

func (c constant) Run(ctx context.Context, apply func(*policy.Set)) error {
	apply(c.set)
	close(c.ready)
	<-ctx.Done()
	return nil
}

func (c constant) Ready() <-chan struct{} { return c.ready }

func (c constant) State() source.State { return source.State{Source: "test"} }
