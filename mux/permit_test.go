package mux

import (
	"errors"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// permits gives out permits and looks at how they come back.
type permits struct {
	t testing.TB
	s *Session // whose lock must be held by who releases

	mu     sync.Mutex
	given  []*permit
	refuse Reason
	asked  func() // called before an answer; may be nil
}

// permit is one of them.
type permit struct {
	from     *permits
	port     uint32 // of the other side
	released int
}

// Release implements Permit.
func (p *permit) Release() {
	if p.from.s.mu.TryLock() {
		p.from.s.mu.Unlock()
		p.from.t.Error("a permit is released without Session.mu")
	}
	p.from.mu.Lock()
	defer p.from.mu.Unlock()
	p.released++
}

// give implements Config.Permit.
func (ps *permits) give(_, remote uint32, _ bool) (Permit, Reason) {
	if ps.asked != nil {
		ps.asked()
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.refuse != ReasonNone {
		return nil, ps.refuse
	}
	p := &permit{from: ps, port: remote}
	ps.given = append(ps.given, p)
	return p, ReasonNone
}

// released lists how often each permit was released, in the order they were given.
func (ps *permits) released() []int {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	list := []int{}
	for _, p := range ps.given {
		list = append(list, p.released)
	}
	return list
}

// guarded is a victim whose connections stand under permits.
func guarded(t testing.TB, cfg Config) (*victim, *permits) {
	ps := &permits{t: t}
	cfg.Permit = ps.give
	return newVictimOver(t, cfg, 64<<10, heated, func(s *Session) { ps.s = s }), ps
}

// dialTo dials from port 40000 to port 7 of the peer, which has to take REQUEST.
func (v *victim) dialTo() chan error {
	got := make(chan error, 1)
	go func() {
		c, err := v.s.Dial(v.t.Context(), 40000, 7)
		if err == nil {
			defer c.Close()
		}
		got <- err
	}()
	v.settle()
	return got
}

// all matches every connection.
func all(uint32, uint32, bool) bool { return true }

// crowd fills the ring to the peer with answers to frames of no tuple, so that
// nothing more can be sent.
func (v *victim) crowd() {
	for v.end.Lying() < 64<<10 {
		v.send(header{src: 9, dst: 9, op: opShutdown}, nil)
	}
}

// refuser is an acceptor that takes nothing.
type refuser struct{}

func (refuser) Offer(*Conn) bool { return false }

// Every way in which a tuple can end, or not begin, releases its permit once.
func TestAPermitIsReleasedOnceHoweverItsTupleEnds(t *testing.T) {
	answer := header{src: 7, dst: 40000, bufAlloc: 64 << 10}
	for _, way := range []struct {
		name string
		cfg  Config
		end  func(v *victim, ps *permits)
		want []int // how often each permit was released
	}{
		{"the acceptor refuses it", Config{Route: func(uint32, uint32) Route { return Route{Acceptor: refuser{}} }}, func(v *victim, _ *permits) {
			v.send(in(opRequest), nil)
			v.expect(opReset)
		}, []int{1}},
		{"nobody listens", Config{Route: func(uint32, uint32) Route { return Route{Reason: ReasonRefused} }}, func(v *victim, _ *permits) {
			v.send(in(opRequest), nil)
			v.expect(opReset)
		}, []int{1}},
		{"there is no memory for it", Config{Budget: NewBudget(0, nil)}, func(v *victim, _ *permits) {
			v.send(in(opRequest), nil)
			v.expect(opReset)
		}, []int{1}},
		{"there is no memory to dial", Config{Budget: NewBudget(0, nil)}, func(v *victim, _ *permits) {
			<-v.dialTo()
		}, []int{1}},
		{"there are too many tuples", Config{MaxConns: 1}, func(v *victim, _ *permits) {
			v.connect(1000)
			h := in(opRequest)
			h.src++
			v.send(h, nil)
			v.expect(opReset)
		}, []int{0, 1}},
		{"the other side resets it", Config{}, func(v *victim, _ *permits) {
			v.connect(1000)
			v.send(in(opReset), nil)
		}, []int{1}},
		{"the other side resets it twice", Config{}, func(v *victim, _ *permits) {
			v.connect(1000)
			v.send(in(opReset), nil)
			v.send(in(opReset), nil)
		}, []int{1}},
		{"the other side refuses a Dial", Config{}, func(v *victim, _ *permits) {
			got := v.dialTo()
			h := answer
			h.op = opReset
			v.send(h, nil)
			<-got
		}, []int{1}},
		{"a Dial is given up", Config{DialTimeout: time.Second}, func(v *victim, _ *permits) {
			<-v.dialTo()
			v.expect(opRequest, opReset)
		}, []int{1}},
		{"a Dial is given up before it is sent", Config{DialTimeout: time.Second}, func(v *victim, _ *permits) {
			v.crowd()
			<-v.dialTo()
		}, []int{1}},
		{"both sides closed it", Config{}, func(v *victim, _ *permits) {
			c := v.connect(1000)
			h := in(opShutdown)
			h.flags = shutBoth
			v.send(h, nil)
			c.Close()
			v.expect(opReset)
		}, []int{1}},
		{"it has lingered for long enough", Config{}, func(v *victim, ps *permits) {
			v.connect(1000).Close()
			time.Sleep(lingerTime - time.Second)
			if got := ps.released(); got[0] != 0 {
				v.t.Error("released while the tuple lingers")
			}
			time.Sleep(2 * time.Second)
		}, []int{1}},
		{"it broke the protocol", Config{}, func(v *victim, _ *permits) {
			v.connect(1000)
			v.send(in(opRequest), nil)
			v.expect(opReset)
		}, []int{1}},
		{"its link ends", Config{}, func(v *victim, _ *permits) {
			v.connect(1000)
			v.s.t.Fail(errors.New("lost"))
		}, []int{1}},
		{"its link is silent", Config{}, func(v *victim, _ *permits) {
			v.connect(1000)
			time.Sleep(2 * DefaultSilence)
		}, []int{1}},
		{"its session is closed", Config{}, func(v *victim, _ *permits) {
			v.connect(1000)
			v.s.Close()
		}, []int{1}},
		{"its session was closed", Config{}, func(v *victim, ps *permits) {
			ps.asked = sync.OnceFunc(v.s.Close)
			<-v.dialTo()
		}, []int{1}},
		{"it is reset", Config{}, func(v *victim, _ *permits) {
			v.connect(1000)
			v.s.Reset(all, ReasonRevoked)
			v.s.Reset(all, ReasonRevoked)
		}, []int{1}},
		{"it is reset and RST finds no room", Config{}, func(v *victim, ps *permits) {
			c := v.connect(1000)
			v.crowd()
			v.s.Reset(all, ReasonRevoked)
			c.Close()
			if got := ps.released(); got[0] != 0 {
				v.t.Error("released while the tuple is taken")
			}
			v.frames()
			v.settle()
		}, []int{1}},
		{"a Dial is reset", Config{}, func(v *victim, _ *permits) {
			got := v.dialTo()
			v.s.Reset(all, ReasonRevoked)
			<-got
		}, []int{1}},
		{"a Dial is reset before it is sent", Config{}, func(v *victim, _ *permits) {
			v.crowd()
			got := v.dialTo()
			v.s.Reset(all, ReasonRevoked)
			<-got
		}, []int{1}},
		{"another takes the tuple meanwhile", Config{}, func(v *victim, ps *permits) {
			ps.asked = func() {
				ps.asked = nil
				v.raw(v.encode(header{src: 7, dst: 40000, op: opRequest, bufAlloc: 1}, nil))
				time.Sleep(time.Second)
			}
			v.s.cfg.Route = func(uint32, uint32) Route { return Route{Acceptor: v.accepted} }
			if err := <-v.dialTo(); !errors.Is(err, syscall.EADDRINUSE) {
				v.t.Errorf("Dial() = %v", err)
			}
		}, []int{0, 1}},
		{"a Review comes before it is made", Config{}, func(v *victim, ps *permits) {
			ps.asked = func() {
				ps.asked = nil
				v.s.Reset(all, ReasonRevoked)
			}
			v.connect(1000)
		}, []int{1, 0}},
	} {
		t.Run(way.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v, ps := guarded(t, way.cfg)
				way.end(v, ps)
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

// sum adds up numbers.
func sum(list []int) (n int) {
	for _, i := range list {
		n += i
	}
	return n
}

// What is refused a permit has no tuple, and the other side is told the reason.
func TestARefusedPermit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		routed := false
		v, ps := guarded(t, Config{Route: func(uint32, uint32) Route {
			routed = true
			return Route{}
		}})
		defer v.stop()
		ps.refuse = ReasonDenied
		v.send(in(opRequest), nil)
		if h := v.expect(opReset)[0]; Reason(h.flags) != ReasonDenied || routed {
			t.Errorf("RST %v, want denied; Route was asked: %v", Reason(h.flags), routed)
		}
		_, err := v.s.Dial(t.Context(), 40000, 7)
		var reset *ResetError
		if !errors.As(err, &reset) || *reset != (ResetError{Reason: ReasonDenied, Dial: true}) {
			t.Errorf("Dial() = %#v", err)
		}
		v.expect() // no REQUEST
		if n := v.s.Stats().Open; n != 0 {
			t.Errorf("%d tuples", n)
		}
	})
}

// A Dial that cannot be made costs no permit: those may count against a rate.
func TestATakenTupleAsksForNoPermit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, ps := guarded(t, Config{})
		defer v.stop()
		v.connect(1000)
		if _, err := v.s.Dial(t.Context(), 7, 1000); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("Dial() = %v", err)
		}
		if got := ps.released(); len(got) != 1 {
			t.Errorf("%d permits were given", len(got))
		}
	})
}
