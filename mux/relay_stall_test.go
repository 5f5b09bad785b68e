package mux

import (
	"bytes"
	"testing"
	"time"

	"xvsock/mux/muxtest"
)

// A frame for which there is no room stays, in its order, and comes once; the pump
// does all else meanwhile, and does not spin.
func TestAFrameWaitsForRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		v.establish(k)
		before := v.s.Stats().FramesIn
		k.fill(true)
		v.send(in(opData), []byte("one"))
		v.send(in(opData), []byte("two"))
		v.send(in(opCreditUpdate), nil)
		k.expect(t)
		if n := v.s.Stats().FramesIn - before; n != 0 {
			t.Errorf("%d frames counted as received", n)
		}
		v.must(k, local(opData), "out") // the other way goes on
		if h := v.expect(opData)[0]; h.size != 3 {
			t.Errorf("%d bytes", h.size)
		}
		time.Sleep(20 * time.Second)
		if n := k.tried(); n > 30 {
			t.Errorf("%d tries in 20 s", n)
		}
		k.fill(false)
		v.s.Wake()
		got := k.expect(t, opData, opData, opCreditUpdate)
		if got[0].payload != "one" || got[1].payload != "two" {
			t.Errorf("the relay got %+v", got)
		}
		if n := v.s.Stats().FramesIn - before; n != 3 {
			t.Errorf("%d frames counted, want 3", n)
		}
	})
}

// Every kind of frame may have to wait, and its state moves once.
func TestEveryKindOfFrameMayWait(t *testing.T) {
	for op := uint16(opResponse); op <= opCreditRequest; op++ {
		bubble(t, func(t *testing.T) {
			v, k := relaying(t, Config{})
			defer v.stop()
			if op == opResponse {
				v.must(k, local(opRequest), "")
			} else {
				v.establish(k)
			}
			v.frames()
			k.fill(true)
			h := in(op)
			if op == opShutdown {
				h.flags = shutSend
			}
			v.send(h, nil)
			for range 3 {
				v.s.Wake()
				v.settle()
			}
			k.expect(t)
			k.fill(false)
			v.s.Wake()
			k.expect(t, op)
			v.expect()
			if n := v.s.Stats().Lies; n != 0 {
				t.Errorf("op %d: %d lies", op, n)
			}
		})
	}
}

// A REQUEST that has to wait has its permit, of which there is one.
func TestAWaitingRequestIsPermittedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := &sockets{full: true}
		v, ps := guarded(t, Config{Route: func(uint32, uint32) Route { return Route{Relay: k} }})
		defer v.stop()
		v.send(in(opRequest), nil)
		for range 5 {
			v.s.Wake()
			v.settle()
		}
		if n := len(ps.released()); n != 1 {
			t.Errorf("asked for %d permits", n)
		}
		k.fill(false)
		v.s.Wake()
		k.expect(t, opRequest)
		v.must(k, local(opResponse), "")
		v.expect(opResponse)
	})
}

// The other side cannot change a frame between two tries: its header was read once.
func TestAWaitingFrameIsReadOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		v.establish(k)
		k.fill(true)
		at := v.peer.end
		before := at.Lying()
		raw := v.encode(in(opCreditUpdate), nil)
		a, b := at.Reserve(len(raw))
		scatter(a, b, 0, raw)
		if err := at.Commit(len(raw)); err != nil || before != 0 {
			t.Fatal(err, before)
		}
		_ = at.Flush()
		v.settle()
		for i := range a {
			a[i] = 0xFF // type, op, length, sequence
		}
		k.fill(false)
		v.s.Wake()
		k.expect(t, opCreditUpdate)
		if err := v.end.Err(); err != nil {
			t.Errorf("link ended: %v", err)
		}
	})
}

// The silence is ours, and the other side hears of us.
func TestAStallIsNotSilence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		v.establish(k)
		k.fill(true)
		v.send(in(opData), []byte("x"))
		time.Sleep(3 * DefaultSilence)
		if err := v.end.Err(); err != nil {
			t.Fatalf("link ended: %v", err)
		}
		if n := len(v.frames()); n < 10 {
			t.Errorf("%d signs of life in 3 min", n)
		}
		k.fill(false)
		v.s.Wake()
		k.expect(t, opData)
		time.Sleep(DefaultSilence - 2*time.Second)
		if err := v.end.Err(); err != nil {
			t.Fatalf("link ended at once: %v", err)
		}
		time.Sleep(3 * time.Second)
		if err := v.end.Err(); err != ErrSilent {
			t.Errorf("link ended with %v, want silence", err)
		}
	})
}

// Who is not there any more holds nobody up.
func TestAWaitingFrameGoesWithItsConnection(t *testing.T) {
	for name, test := range map[string]struct {
		op     uint16
		end    func(v *victim, k *sockets)
		resets int
	}{
		"Withdraw":             {opData, func(v *victim, k *sockets) { v.s.Withdraw(k) }, 0},
		"Reset":                {opData, func(v *victim, k *sockets) { v.s.Reset(all, ReasonRevoked) }, 1},
		"RST of the local end": {opData, func(v *victim, k *sockets) { v.must(k, local(opReset), "") }, 0},
		"Withdraw after RST":   {opReset, func(v *victim, k *sockets) { v.s.Withdraw(k) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v, k := relaying(t, Config{})
				defer v.stop()
				v.establish(k)
				k.fill(true)
				v.send(in(test.op), nil)
				v.send(header{src: 1000, dst: 8, op: opShutdown}, nil) // of no tuple
				test.end(v, k)
				v.settle()
				want := []uint16{opReset, opReset}
				if test.op == opReset {
					want = want[1:]
				}
				v.expect(want...) // what came after it was taken, at once
				k.expect(t)
				if resets, _ := k.told(); len(resets) != test.resets {
					t.Errorf("resets %v, want %d", resets, test.resets)
				}
			})
		})
	}
}

// That is so even if RST finds no room.
func TestAWaitingFrameGoesBeforeItsRST(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		v.establish(k)
		v.clog()
		k.fill(true)
		v.send(in(opData), []byte("x"))
		before := v.s.Stats().FramesIn
		v.s.Reset(all, ReasonRevoked)
		v.settle()
		if n := v.s.Stats().FramesIn - before; n != 1 {
			t.Errorf("%d frames taken, want the one that waited", n)
		}
	})
}

// A RST that waits does not hit the next connection of the same ports.
func TestAWaitingRSTSparesTheNextConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		v.establish(k)
		k.fill(true)
		v.send(in(opReset), nil)
		v.must(k, local(opRequest), "")
		v.expect(opRequest)
		k.fill(false)
		v.s.Wake()
		k.expect(t)
		v.send(in(opResponse), nil)
		k.expect(t, opResponse)
	})
}

// At the link's end, a RST that waits is told, and a session that has nothing else
// does not end as idle before.
func TestAWaitingRSTIsToldAtTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{Idle: time.Second})
		v.establish(k)
		k.fill(true)
		v.send(in(opReset), nil)
		time.Sleep(10 * time.Second)
		if err := v.end.Err(); err != nil {
			t.Fatalf("ended: %v", err)
		}
		v.stop()
		if resets, lost := k.told(); len(resets) != 1 || lost != 0 {
			t.Errorf("resets %v, %d losses", resets, lost)
		}
	})
}

// Both kernels take nothing while both rings are full; once there is room, all goes
// on (the circle of reference/vhost-vsock.md, pitfall 8).
func TestACircularStallEnds(t *testing.T) {
	for _, ring := range []int{4 << 10, 64 << 10} {
		bubble(t, func(t *testing.T) {
			a, b, p := relayedPair(t, ring)
			defer p.stop()
			a.fill(true)
			b.fill(true)
			const count = 200
			done := make(chan error, 2)
			blast := func(s *Session, k *sockets, from, to uint32, fill byte) {
				for i := range count {
					q := Packet{Local: from, Remote: to, Type: typeStream, Op: opData, FwdCnt: uint32(i)}
					if err := s.Send(k, q, bytes.Repeat([]byte{fill}, 1000+i)); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}
			go blast(p.a, a, 5000, 7, 'a')
			go blast(p.b, b, 7, 5000, 'b')
			time.Sleep(30 * time.Second)
			if p.endA.Lying() < ring/2 || p.endB.Lying() < ring/2 {
				t.Fatal("the rings are not full")
			}
			a.fill(false)
			p.a.Wake()
			b.fill(false)
			p.b.Wake()
			for range 2 {
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
			for k, fill := range map[*sockets]byte{a: 'b', b: 'a'} {
				n := 0
				var last uint32
				for _, q := range k.take() {
					if q.Op != opData {
						continue
					}
					if q.payload != string(bytes.Repeat([]byte{fill}, len(q.payload))) || q.FwdCnt < last {
						t.Fatal("bytes or stamps in disorder")
					}
					n, last = n+len(q.payload), q.FwdCnt
				}
				if want := count*1000 + count*(count-1)/2; n != want {
					t.Errorf("%d bytes, want %d", n, want)
				}
			}
		})
	}
}

// relayedPair is two sessions with a Relay each, and one connection from port 5000 of
// a's to port 7 of b's.
func relayedPair(t testing.TB, ring int) (a, b *sockets, p *pair) {
	t.Helper()
	a, b = new(sockets), new(sockets)
	p = newRelayPair(ring, a, b, Config{})
	open(t, p, a, b, typeStream)
	return a, b, p
}

func open(t testing.TB, p *pair, a, b Relay, typ uint16) {
	t.Helper()
	if err := p.a.Send(a, Packet{Local: 5000, Remote: 7, Type: typ, Op: opRequest, BufAlloc: 1 << 18}, nil); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); p.b.Stats().Open == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no REQUEST")
		}
	}
	if err := p.b.Send(b, Packet{Local: 7, Remote: 5000, Type: typ, Op: opResponse, BufAlloc: 1 << 18}, nil); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); p.a.Conns()[0].State != "established"; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no RESPONSE")
		}
	}
}

// newRelayPair is two sessions whose ports are all relayed.
func newRelayPair(ring int, a, b Relay, cfg Config) *pair {
	p := &pair{}
	p.endA, p.endB = muxtest.Pipe(ring)
	cfg.Route = func(uint32, uint32) Route { return Route{Relay: a} }
	p.a = NewSession(heated(p.endA), cfg)
	cfg.Route = func(uint32, uint32) Route { return Route{Relay: b} }
	p.b = NewSession(heated(p.endB), cfg)
	p.doneA, p.doneB = run(p.a), run(p.b)
	return p
}

// withdrawer is a Relay that is withdrawn while it gets RST, for which it has no room.
type withdrawer struct {
	sockets
	resets int
}

// Deliver implements Relay.
func (k *withdrawer) Deliver(s *Session, p Packet, a, b []byte) bool {
	if p.Op != opReset {
		return k.sockets.Deliver(s, p, a, b)
	}
	k.resets++
	s.Withdraw(k)
	return false
}

func TestNothingIsHeldForWhoIsWithdrawnMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := new(withdrawer)
		v := newVictim(t, Config{Route: func(uint32, uint32) Route { return Route{Relay: k} }})
		v.send(in(opRequest), nil)
		v.send(in(opReset), nil)
		v.s.Wake()
		v.settle()
		v.stop()
		if k.resets != 1 {
			t.Errorf("RST came %d times", k.resets)
		}
	})
}

// Room is asked for again whenever the last wish may be used up; while a frame is
// held, otherwise once a second.
func TestWishesForRoomAreRepeated(t *testing.T) {
	end, _ := muxtest.Pipe(4 << 10)
	s := NewSession(end, Config{})
	x, now := &s.tx, time.Now()
	if s.spareWishes(now) {
		t.Error("wishes are spared, and no frame is held")
	}
	s.held.t = new(relayed)
	if !s.spareWishes(now.Add(probeInterval-1)) || s.spareWishes(now.Add(probeInterval)) || !s.spareWishes(now.Add(probeInterval+1)) {
		t.Error("while a frame is held, wishes are not spared for a second each")
	}
	for _, test := range []struct {
		name            string
		spare           bool
		wanted, written int
		again           bool
	}{
		{"there is no room", false, 8 << 10, 0, true},
		{"there is no room, and wishes are spared", true, 8 << 10, 0, false},
		{"there is room", true, 100, 0, true},
		{"another frame took the room", true, 8 << 10, 100, true},
		{"none was asked for", false, 0, 0, false},
	} {
		x.wanted, x.wantedAt = test.wanted, x.committed-uint64(test.written)
		x.retry(test.spare)
		if again := x.wanted == -1; again != test.again {
			t.Errorf("%s: asked again: %v", test.name, again)
		}
	}
}
