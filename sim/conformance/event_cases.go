package conformance

import (
	"testing"
	"time"
)

func eventCases() []Case {
	return []Case{
		{"the binder finds one event pending, the allocator none", pendingOnBind},
		{"an event goes to the other end only", otherEndOnly},
		{"events that come while masked are one, and come at Unmask", coalesce},
		{"Unmask without an event brings none", unmaskQuiet},
		{"Notify succeeds after the other end closed", notifyAfterClose},
		{"closing tells the other end nothing", closeIsSilent},
		{"a domain can have a channel with itself", loop},
	}
}

func pendingOnBind(t *testing.T, p Pair) {
	near, far := ends(t, p)
	a := near.unbound(far.ID())
	b := far.interdomain(near.ID(), a.port)
	b.wantEvent()
	a.wantQuiet()
	b.do(Notify)
	a.wantEvent()
}

func otherEndOnly(t *testing.T, p Pair) {
	near, far := ends(t, p)
	a, b := connect(near, far)
	c, d := connect(near, far)
	a.do(Notify)
	b.wantEvent()
	for _, other := range []channel{a, c, d} {
		other.wantQuiet()
	}
}

func coalesce(t *testing.T, p Pair) {
	near, far := ends(t, p)
	a, b := connect(near, far)
	a.do(Notify)
	b.wantEvent()
	for range 5 {
		a.do(Notify)
	}
	b.wantQuiet()
	b.do(Unmask)
	b.wantEvent()
	b.do(Unmask)
	b.wantQuiet()
}

func unmaskQuiet(t *testing.T, p Pair) {
	near, far := ends(t, p)
	a, b := connect(near, far)
	a.do(Unmask)
	b.do(Unmask)
	a.wantQuiet()
	b.wantQuiet()
	a.do(Notify)
	b.wantEvent()
}

func notifyAfterClose(t *testing.T, p Pair) {
	near, far := ends(t, p)
	a, b := connect(near, far)
	b.do(Close)
	a.do(Notify)
	lone := near.unbound(far.ID())
	lone.do(Notify)
}

func closeIsSilent(t *testing.T, p Pair) {
	near, far := ends(t, p)
	a, b := connect(near, far)
	b.do(Close)
	a.wantQuiet()
}

func loop(t *testing.T, p Pair) {
	near, _ := ends(t, p)
	a, b := connect(near, near)
	a.do(Notify)
	b.wantEvent()
	b.do(Notify)
	a.wantEvent()
}

// eventually waits for something that nothing announces.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
