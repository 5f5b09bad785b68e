package mux

import (
	"testing"
	"time"
)

// The other side ends a connection and uses the port again, while the local end is
// still at the old one.
func TestTheEndOfAConnectionDoesNotReachTheNext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := clogged(t)
		defer v.stop()
		done := make(chan error, 1)
		go func() { done <- v.s.Send(k, local(opData), make([]byte, 8000)) }()
		v.settle()
		v.send(in(opReset), nil)
		v.send(in(opRequest), nil)
		k.expect(t, opReset, opRequest)
		if err := <-done; err != nil {
			t.Errorf("the Send that waited: %v; the relay would answer with RST, which the new socket gets", err)
		}
		// What was in the kernel's queue yet.
		for _, p := range []Packet{local(opData), local(opCreditUpdate), local(opCreditRequest), halfShut(shutSend),
			{Local: 7, Remote: 1000, Type: typeSeqpacket, Op: opData}} {
			if err := v.s.Send(k, p, nil); err != nil {
				t.Errorf("a late packet of op %d: %v", p.Op, err)
			}
		}
		v.must(k, local(opResponse), "")
		if list := v.unclog(); len(list) != 1 || list[0].op != opResponse || list[0].bufAlloc != 256<<10 {
			t.Errorf("the new connection: %v", list)
		}
		if conns := v.s.Conns(); len(conns) != 1 || conns[0].State != "established" {
			t.Errorf("it is %+v", conns)
		}
	})
}

// The same socket connects again after a signal, or a time-out of which its kernel
// tells nobody.
func TestARequestIsAskedAgain(t *testing.T) {
	request := local(opRequest)
	for name, test := range map[string]struct {
		reach func(v *victim, k *sockets)
		p     Packet
		reset bool // it fails
		state string
	}{
		"while it is not answered": {func(v *victim, k *sockets) { v.must(k, request, ""); v.expect(opRequest) }, request, false, "dialing"},
		"for another type": {func(v *victim, k *sockets) { v.must(k, request, ""); v.expect(opRequest) },
			Packet{Local: 7, Remote: 1000, Type: typeSeqpacket, Op: opRequest}, true, "dialing"},
		"as the answer arrives": {func(v *victim, k *sockets) {
			v.must(k, request, "")
			v.expect(opRequest)
			v.send(in(opResponse), nil)
		}, request, false, "established"},
		"on what the other side asked for":   {func(v *victim, k *sockets) { v.send(in(opRequest), nil) }, request, false, "dialing"},
		"on a connection of another program": {func(v *victim, k *sockets) { v.establish(k) }, request, false, "established"},
		"on a connection that lingers":       {func(v *victim, k *sockets) { v.establish(k); v.must(k, halfShut(shutBoth), ""); v.expect(opShutdown) }, request, false, "lingering"},
		"on a connection that is reset": {func(v *victim, k *sockets) {
			v.establish(k)
			v.clog()
			v.s.Reset(func(_, remote uint32, _ bool) bool { return remote == 1000 }, ReasonRevoked)
		}, request, true, "resetting"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v, k := relaying(t, Config{})
				defer v.stop()
				test.reach(v, k)
				k.take()
				k.told()
				if err := v.s.Send(k, test.p, nil); (err != nil) != test.reset {
					t.Errorf("Send(REQUEST) = %v", err)
				}
				if list := v.s.Conns(); len(list) != 1 || list[0].State != test.state {
					t.Errorf("%+v, want one that is %s", list, test.state)
				}
				k.expect(t)
				if resets, _ := k.told(); len(resets) != 0 {
					t.Errorf("the relay is told of %v", resets)
				}
				if test.state != "resetting" {
					v.expect()
				}
			})
		})
	}
}

// Who asks again has as much time for the answer as who asks first, and says what its
// memory is now.
func TestAskingAgainBeginsTheTimeAnew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		v.must(k, local(opRequest), "")
		other := local(opRequest)
		other.Local = 8
		v.must(k, other, "")
		v.expect(opRequest, opRequest)
		time.Sleep(answerTime - time.Second)
		v.must(k, local(opRequest), "")
		time.Sleep(answerTime - time.Second)
		v.settle()
		if resets, _ := k.told(); len(resets) != 1 || resets[0].Local != 8 {
			t.Errorf("reset: %v, want who has asked once", resets)
		}
		time.Sleep(2 * time.Second)
		v.settle()
		if resets, _ := k.told(); len(resets) != 1 || resets[0].Local != 7 {
			t.Errorf("reset: %v", resets)
		}
	})
}
