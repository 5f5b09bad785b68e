package conformance

import (
	"testing"
)

func bindCases() []Case {
	return []Case{
		{"a port is for the named domain only", namedOnly},
		{"a port that is bound cannot be bound again", bindTwice},
		{"a port that is not allocated cannot be bound", bindUnknown},
		{"closing twice does nothing", closeTwice},
		{"a port whose other end closed can be bound again by that domain", rebind},
		{"ports run out with ErrNoPorts", noPorts},
	}
}

func namedOnly(t *testing.T, p Pair) {
	near, far := ends(t, p)
	a := near.unbound(p.Stranger)
	far.mustFail(Request{Op: Interdomain, Domain: near.ID(), Port: a.port})
}

func bindTwice(t *testing.T, p Pair) {
	near, far := ends(t, p)
	a, b := connect(near, far)
	far.mustFail(Request{Op: Interdomain, Domain: near.ID(), Port: a.port})
	near.mustFail(Request{Op: Interdomain, Domain: far.ID(), Port: b.port})
}

func bindUnknown(t *testing.T, p Pair) {
	near, far := ends(t, p)
	far.mustFail(Request{Op: Interdomain, Domain: near.ID(), Port: 4000})
	far.mustFail(Request{Op: Interdomain, Domain: near.ID(), Port: 0xFFFF_FFFF})
	far.mustFail(Request{Op: Interdomain, Domain: p.Stranger, Port: 8})
	a := near.unbound(far.ID())
	a.do(Close)
	far.mustFail(Request{Op: Interdomain, Domain: near.ID(), Port: a.port})
}

func closeTwice(t *testing.T, p Pair) {
	near, far := ends(t, p)
	a, b := connect(near, far)
	a.do(Close)
	a.do(Close)
	b.do(Close)
}

func rebind(t *testing.T, p Pair) {
	near, far := ends(t, p)
	a, b := connect(near, far)
	b.do(Close)
	c := far.interdomain(near.ID(), a.port)
	c.do(Notify)
	a.wantEvent()
}

// noPorts asks the far end, which on real Xen is a guest where there is one:
// domain 0 may have as many ports as the ABI knows.
func noPorts(t *testing.T, p Pair) {
	_, far := ends(t, p)
	if far.ID() == 0 {
		t.Skip("domain 0 has no limit of ports; set XVSOCK_CONFORM_PEER to a guest that runs the agent")
	}
	for range 2 { // what was closed can be had again
		r := far.Do(Request{Op: Exhaust, Domain: p.Stranger, N: 5000})
		if r.Error == nil || !r.Error.Ports {
			t.Fatalf("%d ports allocated, then: %+v", r.N, r.Error)
		}
		if r.N < 100 {
			t.Fatalf("only %d ports could be allocated", r.N)
		}
	}
}
