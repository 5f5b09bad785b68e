package conformance_test

import (
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

func newEnd(t *testing.T, p *sim.Process) *conformance.Local {
	end := conformance.NewLocal(p.Domain().ID(), p.Grants(), p.Events(), p.Kill)
	t.Cleanup(func() {
		if err := end.Close(); err != nil {
			t.Error(err)
		}
	})
	return end
}
