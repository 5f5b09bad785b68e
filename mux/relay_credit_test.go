package mux

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"
)

// acks is a CREDIT_UPDATE of the peer that acknowledges n bytes.
func acks(n uint32) header {
	h := in(opCreditUpdate)
	h.bufAlloc, h.fwdCnt = 1<<20, n
	return h
}

// What is acknowledged and was never sent is room to the kernel: its memory would be
// the peer's to fill.
func TestNobodyAcknowledgesMoreThanWasSent(t *testing.T) {
	for _, test := range []struct {
		name   string
		sent   int
		frames []uint32 // fwd_cnt each
		passed []uint32 // that the relay hears of
		lie    bool
	}{
		{"nothing sent, nothing acknowledged", 0, []uint32{0}, []uint32{0}, false},
		{"a byte of nothing", 0, []uint32{1}, nil, true},
		{"a megabyte of nothing", 0, []uint32{1 << 20}, nil, true},
		{"all that was sent", 5000, []uint32{5000}, []uint32{5000}, false},
		{"a byte more", 5000, []uint32{4000, 5001}, []uint32{4000}, true},
		{"frames that have crossed", 5000, []uint32{4000, 1000, 5000}, []uint32{4000, 4000, 5000}, false},
		{"before the beginning", 5000, []uint32{4000, 1 << 31}, []uint32{4000}, true},
		{"long before the beginning", 5000, []uint32{4000, math.MaxUint32}, []uint32{4000, 4000}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v, k := relaying(t, Config{})
				defer v.stop()
				v.establish(k)
				v.must(k, local(opData), string(make([]byte, test.sent)))
				v.frames()
				for _, n := range test.frames {
					v.send(acks(n), nil)
				}
				var passed []uint32
				for _, p := range k.take() {
					passed = append(passed, p.FwdCnt)
				}
				if !slices.Equal(passed, test.passed) {
					t.Errorf("the relay hears of %v, want %v", passed, test.passed)
				}
				if lost := v.s.Stats().Lies == 1; lost != test.lie {
					t.Errorf("lost to a lie: %v, want %v", lost, test.lie)
				}
			})
		})
	}
}

// What lies in the ring counts, and not what waits for room there.
func TestWhatWaitsForRoomIsNotAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := clogged(t)
		defer v.stop()
		done := make(chan error, 1)
		go func() { done <- v.s.Send(k, local(opData), make([]byte, 1000)) }()
		v.settle()
		v.send(acks(1), nil)
		k.expect(t)
		if resets, _ := k.told(); len(resets) != 1 {
			t.Errorf("%d resets, want one", len(resets))
		}
		if err := <-done; err != nil {
			t.Errorf("Send() = %v, and the relay was told by Reset", err)
		}
	})
}

// An answer that acknowledges something is a lie as any other frame.
func TestAnAnswerAcknowledgesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		v.must(k, local(opRequest), "")
		v.expect(opRequest)
		h := in(opResponse)
		h.fwdCnt = 1 << 20
		v.send(h, nil)
		k.expect(t)
		v.expect(opReset)
	})
}

// A kernel answers each CREDIT_REQUEST with a packet, of which none is taken while a
// Send waits.
func TestCreditIsAskedForOnceUntilTheLocalEndSends(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := clogged(t)
		defer v.stop()
		done := make(chan error, 1)
		go func() { done <- v.s.Send(k, local(opData), make([]byte, 8000)) }()
		v.settle()
		ask := func() []uint16 {
			h := in(opCreditRequest)
			h.bufAlloc = 4096
			v.send(h, nil)
			var ops []uint16
			for _, p := range k.take() {
				if p.BufAlloc != 4096 {
					t.Fatalf("op %d tells of %d bytes", p.Op, p.BufAlloc)
				}
				ops = append(ops, p.Op)
			}
			return ops
		}
		if got := ask(); !slices.Equal(got, []uint16{opCreditRequest}) {
			t.Fatalf("the first one is %v", got)
		}
		for range 1000 { // what it says of credit still comes
			if got := ask(); !slices.Equal(got, []uint16{opCreditUpdate}) {
				t.Fatalf("a later one is %v, want an update", got)
			}
		}
		v.unclog()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		v.must(k, local(opCreditUpdate), "")
		if got := ask(); !slices.Equal(got, []uint16{opCreditRequest}) {
			t.Errorf("after an answer it is %v", got)
		}
	})
}

// The other side may say as much as it likes: if it takes nothing, the link is silent.
func TestALinkWhosePeerTakesNothingEnds(t *testing.T) {
	for _, test := range []struct {
		name  string
		waits bool // a frame does
		takes bool // the peer takes one now and then
		ends  bool
	}{
		{"a frame waits", true, false, true},
		{"none waits", false, false, false},
		{"some are taken", true, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v, k := relayingOver(t, Config{}, 4<<10)
				v.establish(k)
				done := make(chan error, 1)
				if test.waits {
					go func() { done <- v.s.Send(k, local(opData), make([]byte, 1<<20)) }()
				}
				begin := time.Now()
				ended := func() bool { return v.end.Err() != nil }
				for time.Since(begin) < 3*DefaultSilence && !ended() {
					time.Sleep(5 * time.Second)
					if test.takes {
						v.frames()
						v.settle()
					}
					if !ended() && !test.waits {
						v.frames()
					}
					if !ended() {
						v.send(in(opCreditUpdate), nil)
						k.take()
					}
				}
				if ended() != test.ends {
					t.Fatalf("ended: %v after %v", v.end.Err(), time.Since(begin))
				}
				if !test.ends {
					v.stop()
					return
				}
				if err := <-v.done; !errors.Is(err, ErrSilent) || time.Since(begin) > DefaultSilence+5*time.Second {
					t.Errorf("%v after %v", err, time.Since(begin))
				}
				if err := <-done; err != nil {
					t.Errorf("Send() = %v", err)
				}
				if _, lost := k.told(); lost != 1 {
					t.Errorf("%d losses", lost)
				}
			})
		})
	}
}

// Time for which the domain was stopped is not held against the other side.
func TestAStoppedDomainDoesNotFindItsLinkStuck(t *testing.T) {
	s := &Session{cfg: Config{Silence: time.Minute}, table: table{entries: map[tuple]entry{{1, 1}: {}}}}
	now := time.Now()
	s.keepTime(now, true)
	s.stuck(now)
	s.tx.wanted = 100
	for _, step := range []struct {
		after time.Duration
		want  time.Duration
	}{{time.Second, time.Second}, {time.Hour, time.Second}, {time.Second, 2 * time.Second}} {
		now = now.Add(step.after)
		s.keepTime(now, true)
		if got := s.stuck(now); got != step.want {
			t.Errorf("%v later it is stuck for %v, want %v", step.after, got, step.want)
		}
	}
}

// A link with few connections has as much room for others among them.
func TestUnansweredRequestsLeaveHalfOfTheTable(t *testing.T) {
	for most, want := range map[int]int{1: 1, 2: 1, 3: 1, 8: 4} {
		bubble(t, func(t *testing.T) {
			v, k := relaying(t, Config{MaxConns: most})
			defer v.stop()
			for i := range uint32(10) {
				h := in(opRequest)
				h.src += i
				v.send(h, nil)
			}
			if n := len(k.take()); n != want {
				t.Errorf("%d of %d tuples wait for an answer, want %d", n, most, want)
			}
		})
	}
}
