package mux

import (
	"errors"
	"slices"
	"sync"
	"syscall"
	"testing"
)

func TestReviewAsksAboutEveryConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, ps := guarded(t, Config{})
		defer v.stop()
		conns := make(map[uint32]*Conn)
		for port := uint32(1000); port < 1003; port++ {
			conns[port] = v.connect(port)
		}
		dialed := v.dialTo()
		v.expect(opRequest)
		moved := &permit{from: ps, port: 1001}
		ended := v.s.Review(func(local, remote uint32, incoming bool, p Permit) (Permit, Reason) {
			if p.(*permit).port != remote || incoming != (local == 7) {
				t.Errorf("%d to %d, incoming %v, stands under %+v", remote, local, incoming, p)
			}
			switch remote {
			case 1000, 7:
				return nil, ReasonRevoked
			case 1001:
				p.Release()
				return moved, ReasonNone
			}
			return p, ReasonNone
		})
		if ended != 2 {
			t.Errorf("Review() = %d, want 2", ended)
		}
		for _, h := range v.expect(opReset, opReset) {
			if Reason(h.flags) != ReasonRevoked || h.dst != 1000 && h.dst != 7 {
				t.Errorf("RST %v to port %d", Reason(h.flags), h.dst)
			}
		}
		if err := <-dialed; !errors.Is(err, syscall.EACCES) {
			t.Errorf("the Dial that was ended: %v", err)
		}
		if _, err := conns[1000].Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the connection that was ended: %v", err)
		}
		if got, want := ps.released(), []int{1, 1, 0, 1}; !slices.Equal(got, want) {
			t.Errorf("permits were released %v times, want %v", got, want)
		}
		for port := uint32(1001); port < 1003; port++ {
			h := in(opReset)
			h.src = port
			v.send(h, nil)
		}
		if got, want := append(ps.released(), moved.released), []int{1, 1, 1, 1, 1}; !slices.Equal(got, want) {
			t.Errorf("at the end permits were released %v times, want %v", got, want)
		}
	})
}

// A connection that was reset, and whose RST waits for room, is over: nobody is
// asked about it again.
func TestReviewPassesOverWhatWasReset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, _ := guarded(t, Config{})
		defer v.stop()
		v.connect(1000)
		v.crowd()
		for i, want := range []int{1, 0} {
			if n := v.s.Reset(all, ReasonRevoked); n != want {
				t.Errorf("Reset() number %d = %d, want %d", i+1, n, want)
			}
		}
	})
}

// A connection that was permitted before the rules changed, and that the Review
// has not seen yet, is asked for again: in both directions.
func TestNoConnectionSlipsThroughAReview(t *testing.T) {
	for name, connect := range map[string]func(v *victim) error{
		"incoming": func(v *victim) error {
			v.send(in(opRequest), nil)
			return &ResetError{Reason: Reason(v.expect(opReset)[0].flags), Dial: true}
		},
		"dialed": func(v *victim) error {
			_, err := v.s.Dial(v.t.Context(), 40000, 7)
			v.expect()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				ps := &permits{t: t}
				reviews := 0
				v := newVictimOver(t, Config{Permit: func(local, remote uint32, incoming bool) (Permit, Reason) {
					p, r := ps.give(local, remote, incoming)
					if reviews++; reviews <= 3 { // after the answer
						if reviews == 3 {
							ps.refuse = ReasonRevoked
						}
						ps.s.Review(func(uint32, uint32, bool, Permit) (Permit, Reason) {
							t.Error("a connection is there already")
							return nil, ReasonRevoked
						})
					}
					return p, r
				}}, 64<<10, heated, func(s *Session) { ps.s = s })
				defer v.stop()
				if err := connect(v); !errors.Is(err, syscall.EACCES) {
					t.Errorf("the connection: %v", err)
				}
				if got, want := ps.released(), []int{1, 1, 1}; !slices.Equal(got, want) || v.s.Stats().Open != 0 {
					t.Errorf("permits were released %v times, want %v; %d tuples", got, want, v.s.Stats().Open)
				}
			})
		})
	}
}

// Many that connect both ways while the rules change all the time: whatever is
// open after a Review is allowed by the rules before it. Real time, for -race.
func TestReviewsRaceWithConnections(t *testing.T) {
	var rules sync.RWMutex
	version := 0
	type held struct {
		Permit
		version int
	}
	cfg := Config{Permit: func(local, remote uint32, incoming bool) (Permit, Reason) {
		rules.RLock()
		defer rules.RUnlock()
		return held{nothing{}, version}, ReasonNone
	}}
	p := newPair(64<<10, cfg)
	defer p.stop()
	stop := make(chan struct{})
	var busy sync.WaitGroup
	busy.Go(func() {
		for {
			select {
			case c := <-p.accepted:
				c.Close()
			case <-stop:
				return
			}
		}
	})
	for i := range 4 {
		busy.Go(func() {
			for port := uint32(5000 + i); ; port += 4 {
				select {
				case <-stop:
					return
				default:
				}
				if c, err := p.a.Dial(t.Context(), port, 7); err == nil {
					c.Close()
				}
			}
		})
	}
	for range 2000 {
		rules.Lock()
		version++
		now := version
		rules.Unlock()
		for _, s := range []*Session{p.a, p.b} {
			s.Review(func(_, remote uint32, incoming bool, pt Permit) (Permit, Reason) {
				if remote%2 == 0 {
					return nil, ReasonRevoked
				}
				return held{nothing{}, now}, ReasonNone
			})
			for _, e := range s.table.all() {
				s.withLock(func() {
					if h := e.permit.(held); h.version < now && e.info().State != resetting.String() && e.info().State != gone.String() {
						t.Errorf("a connection stands under the rules of version %d, now %d", h.version, now)
					}
				})
			}
		}
	}
	close(stop)
	p.a.Close()
	busy.Wait()
}

// nothing is a Permit that counts nothing.
type nothing struct{}

func (nothing) Release() {}
