package mux

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

// Every way in which a relayed tuple can end, or not begin, releases its permit once.
func TestAPermitOfARelayedTupleIsReleasedOnce(t *testing.T) {
	request := func(v *victim, _ *sockets) { v.send(in(opRequest), nil) }
	ask := func(v *victim, k *sockets) { _ = v.s.Send(k, local(opRequest), nil) }
	for _, way := range []struct {
		name   string
		cfg    Config
		before func(v *victim, k *sockets)
		end    func(v *victim, k *sockets, ps *permits)
		want   []int // how often each permit was released
	}{
		{"the local end refuses it", Config{}, request, func(v *victim, k *sockets, _ *permits) {
			v.must(k, local(opReset), "")
			v.must(k, local(opReset), "")
		}, []int{1}},
		{"the other side refuses it", Config{}, ask, func(v *victim, k *sockets, _ *permits) {
			v.send(in(opReset), nil)
			v.send(in(opReset), nil)
		}, []int{1}},
		{"the other side resets it while nothing is taken", Config{}, request, func(v *victim, k *sockets, _ *permits) {
			k.fill(true)
			v.send(in(opReset), nil)
		}, []int{1}},
		{"it is taken back before it is sent", Config{}, func(v *victim, k *sockets) { v.crowd(); ask(v, k) },
			func(v *victim, k *sockets, _ *permits) { v.must(k, local(opReset), "") }, []int{1}},
		{"RST finds no room", Config{}, request, func(v *victim, k *sockets, ps *permits) {
			v.crowd()
			v.must(k, local(opReset), "")
			if got := ps.released(); got[0] != 0 {
				v.t.Error("released while the tuple is taken")
			}
			v.frames()
			v.settle()
		}, []int{1}},
		{"it has lingered", Config{}, func(v *victim, k *sockets) { v.establish(k) }, func(v *victim, k *sockets, _ *permits) {
			v.must(k, halfShut(shutBoth), "")
			time.Sleep(lingerTime + time.Second)
		}, []int{1}},
		{"it is withdrawn", Config{}, request, func(v *victim, k *sockets, _ *permits) { v.s.Withdraw(k); v.s.Withdraw(k) }, []int{1}},
		{"it is reset", Config{}, request, func(v *victim, _ *sockets, _ *permits) { v.s.Reset(all, ReasonRevoked) }, []int{1}},
		{"it broke the protocol", Config{}, request, request2, []int{1}},
		{"its link ends", Config{}, request, func(v *victim, _ *sockets, _ *permits) { v.s.t.Fail(errors.New("lost")) }, []int{1}},
		{"its session is closed", Config{}, ask, func(v *victim, _ *sockets, _ *permits) { v.s.Close() }, []int{1}},
		{"there are too many tuples", Config{MaxConns: 1}, request, func(v *victim, k *sockets, _ *permits) {
			h := in(opRequest)
			h.src++
			v.send(h, nil)
			if err := v.s.Send(k, Packet{Local: 40000, Remote: 9, Type: typeStream, Op: opRequest}, nil); !isReset(err) {
				v.t.Errorf("Send() = %v", err)
			}
		}, []int{0, 1}},
		{"too many wait for an answer", Config{}, request, func(v *victim, k *sockets, _ *permits) {
			v.s.locked(func() { v.s.unanswered += DefaultMaxConns / 2 })
			h := in(opRequest)
			h.src++
			v.send(h, nil)
			v.s.locked(func() { v.s.unanswered -= DefaultMaxConns / 2 })
		}, []int{0, 1}},
		{"too many wait for an answer, and the acceptor leaves it", Config{}, func(*victim, *sockets) {}, func(v *victim, k *sockets, _ *permits) {
			v.s.cfg.Route = func(uint32, uint32) Route { return Route{Acceptor: refuser{}, Relay: k} }
			v.s.locked(func() { v.s.unanswered += DefaultMaxConns / 2 })
			request(v, k)
			v.s.locked(func() { v.s.unanswered -= DefaultMaxConns / 2 })
			if h := v.expect(opReset)[0]; Reason(h.flags) != ReasonBudget {
				v.t.Errorf("RST %v, want budget", Reason(h.flags))
			}
			k.expect(v.t)
		}, []int{1}},
		{"the local end takes the tuple meanwhile", Config{}, func(*victim, *sockets) {}, func(v *victim, k *sockets, ps *permits) {
			ps.asked = func() {
				ps.asked = nil
				ask(v, k)
			}
			request(v, k)
			v.expect(opRequest, opReset)
			k.expect(v.t)
		}, []int{0, 1}},
		{"a taken tuple is asked for again", Config{}, ask, func(v *victim, k *sockets, _ *permits) { ask(v, k) }, []int{0}},
		{"a Review comes before the other side's is made", Config{}, func(*victim, *sockets) {}, func(v *victim, k *sockets, ps *permits) {
			ps.asked = sync.OnceFunc(func() { v.s.Reset(all, ReasonRevoked) })
			request(v, k)
		}, []int{1, 0}},
		{"a Review comes before its own is made", Config{}, func(*victim, *sockets) {}, func(v *victim, k *sockets, ps *permits) {
			ps.asked = sync.OnceFunc(func() { v.s.Reset(all, ReasonRevoked) })
			ask(v, k)
		}, []int{1, 0}},
	} {
		t.Run(way.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				k := new(sockets)
				way.cfg.Route = func(uint32, uint32) Route { return Route{Relay: k} }
				v, ps := guarded(t, way.cfg)
				way.before(v, k)
				way.end(v, k, ps)
				v.settle()
				got := ps.released()
				if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(way.want))) {
					t.Errorf("permits were released %v times, want %v", got, way.want)
				}
				if open := len(got) - sum(got); open != v.s.Stats().Open {
					t.Errorf("%d permits are held by %d tuples", open, v.s.Stats().Open)
				}
				v.stop()
				if got := ps.released(); sum(got) != len(got) {
					t.Errorf("after the end they were released %v times", got)
				}
			})
		})
	}
}

func request2(v *victim, _ *sockets, _ *permits) { v.send(in(opRequest), nil) }

// reviewing is an acceptor during whose Offer something happens, and who takes nothing.
type reviewing struct{ during func() }

func (r reviewing) Offer(*Conn) bool { r.during(); return false }

// A tuple on its way from an acceptor to the Relay is seen by every Review, and its
// permit, also a new one, goes with it.
func TestATupleThatChangesHandsKeepsItsPermit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := new(sockets)
		var during func()
		v, ps := guarded(t, Config{Route: func(uint32, uint32) Route {
			return Route{Acceptor: reviewing{func() { during() }}, Relay: k}
		}})
		defer v.stop()
		during = func() {
			v.s.Review(func(_, remote uint32, _ bool, p Permit) (Permit, Reason) {
				next, _ := ps.give(0, remote, true)
				p.Release()
				return next, ReasonNone
			})
		}
		v.send(in(opRequest), nil)
		k.expect(t, opRequest)
		if got := ps.released(); !slices.Equal(got, []int{1, 0}) {
			t.Errorf("permits were released %v times", got)
		}
		v.send(in(opReset), nil)
		k.expect(t, opReset)
		if got := ps.released(); !slices.Equal(got, []int{1, 1}) {
			t.Errorf("permits were released %v times", got)
		}

		during = func() { v.s.Reset(all, ReasonRevoked) }
		v.send(in(opRequest), nil)
		v.expect(opReset)
		k.expect(t)
		if got := ps.released(); !slices.Equal(got, []int{1, 1, 1}) || v.s.Stats().Open != 0 {
			t.Errorf("permits were released %v times, %d tuples", got, v.s.Stats().Open)
		}
	})
}

// Who has no permit reaches no Relay, and the local end is told why it has none.
func TestARelayNeedsAPermit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := new(sockets)
		v, ps := guarded(t, Config{Route: func(uint32, uint32) Route { return Route{Relay: k} }})
		defer v.stop()
		ps.refuse = ReasonDenied
		v.send(in(opRequest), nil)
		if h := v.expect(opReset)[0]; Reason(h.flags) != ReasonDenied {
			t.Errorf("RST %v", Reason(h.flags))
		}
		err := v.s.Send(k, local(opRequest), nil)
		if !isReset(err) || err.(*ResetError).Reason != ReasonDenied || !err.(*ResetError).Dial {
			t.Errorf("Send() = %v", err)
		}
		k.expect(t)
		v.expect()
	})
}
