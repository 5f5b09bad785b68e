package conformance_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"xvsock/sim"
	"xvsock/sim/conformance"
)

// TestSim runs every case on the simulated host, for two domains and for one
// that is its own peer, once directly and once by way of the far end's protocol.
func TestSim(t *testing.T) {
	for _, c := range conformance.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			for name, connect := range map[string]func(*testing.T) conformance.Pair{
				"two domains":         twoDomains,
				"one domain":          oneDomain,
				"two domains, by RPC": twoDomainsByRPC,
				"a guest's agent":     guestAgent,
			} {
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { c.Test(t, connect(t)) })
				})
			}
		})
	}
}

func twoDomains(t *testing.T) conformance.Pair {
	host := sim.NewTest(t)
	near := host.Create(sim.DomainConfig{})
	far := host.Create(sim.DomainConfig{})
	return conformance.Pair{Near: newEnd(t, near.NewProcess()), Far: newEnd(t, far.NewProcess()), Stranger: 0x7FEF}
}

func oneDomain(t *testing.T) conformance.Pair {
	d := sim.NewTest(t).Create(sim.DomainConfig{})
	return conformance.Pair{Near: newEnd(t, d.NewProcess()), Far: newEnd(t, d.NewProcess()), Stranger: 0x7FEF}
}

func twoDomainsByRPC(t *testing.T) conformance.Pair {
	p := twoDomains(t)
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close() })
	far := p.Far
	go conformance.Serve(there, far)
	p.Far = conformance.NewRemote(far.ID(), here)
	return p
}

// guestAgent goes the whole way that a guest on real Xen goes, but for the
// processes.
func guestAgent(t *testing.T) conformance.Pair {
	host := sim.NewTest(t)
	guest := host.Create(sim.DomainConfig{})
	dom0 := host.Toolstack()
	ctx, cancel := context.WithCancel(t.Context())
	daemon := guest.NewProcess()
	ended := make(chan error)
	go func() {
		ended <- conformance.Agent(ctx, daemon.Xenstore(), func() (io.ReadWriteCloser, error) { return farEnd(guest), nil })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		daemon.Kill()
		dom0.Close()
	})
	way, err := conformance.Drive(ctx, dom0, guest.ID())
	if err != nil {
		t.Fatal(err)
	}
	near := newEnd(t, host.Domain(0).NewProcess())
	return conformance.Pair{Near: near, Far: conformance.NewRemote(guest.ID(), way), Stranger: 0x7FEF}
}

// farEnd serves an End in a process of its own, which dies with its way.
func farEnd(d *sim.Domain) io.ReadWriteCloser {
	p := d.NewProcess()
	here, there := net.Pipe()
	end := conformance.NewLocal(d.ID(), p.Grants(), p.Events(), func() {
		p.Kill()
		there.Close()
	})
	dead := make(chan struct{})
	go func() {
		defer close(dead)
		conformance.Serve(there, end)
		p.Kill()
	}()
	return &farProcess{here, dead}
}

// farProcess waits for the process's death in Close, as Spawn's does.
type farProcess struct {
	net.Conn
	dead <-chan struct{}
}

func (p *farProcess) Close() error {
	err := p.Conn.Close()
	<-p.dead
	return err
}

func newEnd(t *testing.T, p *sim.Process) *conformance.Local {
	end := conformance.NewLocal(p.Domain().ID(), p.Grants(), p.Events(), p.Kill)
	t.Cleanup(func() {
		if err := end.Close(); err != nil {
			t.Error(err)
		}
	})
	return end
}
