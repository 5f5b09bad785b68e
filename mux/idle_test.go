package mux

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"xvsock/mux/muxtest"
)

func TestAnIdleSessionEnds(t *testing.T) {
	const idle = time.Minute
	for _, c := range []struct {
		name string
		use  func(v *victim)
		want time.Duration // after use
	}{
		{"that never had a connection", func(*victim) {}, idle},
		{"after its last connection", func(v *victim) {
			time.Sleep(idle - time.Second)
			one := v.connect(1000)
			v.connect(1001)
			time.Sleep(time.Second)
			v.send(in(opReset), nil)
			one.Close()
			time.Sleep(30 * time.Second) // the other is still open
			h := in(opReset)
			h.src = 1001
			v.send(h, nil)
		}, 2 * idle},
		{"after a connection between two looks of its pump", func(v *victim) {
			time.Sleep(idle - time.Second)
			v.connect(1000)
			v.send(in(opReset), nil)
		}, 2 * idle},
		{"sooner if the last connection was its own", func(v *victim) {
			v.connect(1000)
			v.send(in(opReset), nil)
			time.Sleep(idle)
			got := v.dialTo()
			v.send(header{src: 7, dst: 40000, op: opReset}, nil)
			<-got
		}, idle},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v := newVictim(t, Config{Idle: idle})
				c.use(v)
				begin := time.Now()
				if err := <-v.done; err != ErrIdle {
					t.Errorf("Run() = %v, want %v", err, ErrIdle)
				}
				if took := time.Since(begin); took != c.want {
					t.Errorf("it took %v, want %v", took, c.want)
				}
				_, err := v.s.Dial(t.Context(), 40000, 7)
				var reset *ResetError
				if !errors.As(err, &reset) || !reset.Unsent || !errors.Is(err, ErrIdle) {
					t.Errorf("Dial() afterwards = %v", err)
				}
			})
		})
	}
}

// REQUEST may be what comes next.
func TestASessionDoesNotEndJustAfterItHeardSomething(t *testing.T) {
	end, _ := muxtest.Pipe(64 << 10)
	s := NewSession(end, Config{Idle: time.Minute})
	at := time.Now().Add(2 * time.Minute)
	if wait, err := s.turn(at, true); wait != time.Millisecond || err != nil {
		t.Errorf("turn() = %v, %v", wait, err)
	}
	if _, err := s.turn(at, false); err != ErrIdle {
		t.Errorf("turn() = %v, want %v", err, ErrIdle)
	}
	// Whoever has the lock next cannot send any more.
	if _, _, err := end.Peek(1); err != ErrIdle {
		t.Errorf("Peek() = %v, want %v", err, ErrIdle)
	}
}

// A session with a connection, and one whose Idle is 0, never ends so.
func TestASessionThatIsNotIdleStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, idle := range []time.Duration{0, time.Minute} {
			p := newPair(64<<10, Config{Idle: idle})
			a, b := p.connect(t, 5000)
			time.Sleep(time.Hour)
			if idle == 0 {
				a.Close()
				b.Close()
				time.Sleep(time.Hour)
			}
			select {
			case err := <-p.doneA:
				t.Errorf("with Idle %v the session ended: %v", idle, err)
				p.doneA <- err
			default:
			}
			a.Close()
			b.Close()
			p.stop()
		}
	})
}

// While a session is idle its pump sleeps until the end of it, and no look is
// taken in between.
func TestAnIdlePumpSleepsUntilTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rec := &waitCounter{}
		v := newVictimOver(t, Config{Idle: time.Minute}, 64<<10, func(e *muxtest.End) Transport {
			rec.Transport = heated(e)
			return rec
		})
		<-v.done
		if n := rec.n.Load(); n > 2 {
			t.Errorf("the pump slept %d times in an idle minute", n)
		}
	})
}

// waitCounter counts how often the pump sleeps.
type waitCounter struct {
	Transport
	n atomic.Int64
}

func (w *waitCounter) Sleep(d time.Duration) error {
	w.n.Add(1)
	return w.Transport.Sleep(d)
}

// Whether the other side may have heard of a Dial decides whether it can be tried
// over another link.
func TestALostDialSaysWhetherItWasSent(t *testing.T) {
	lost := errors.New("lost")
	for _, c := range []struct {
		name   string
		lose   func(v *victim) error
		unsent bool
	}{
		{"the link had ended", func(v *victim) error {
			v.end.Fail(lost)
			v.settle()
			return <-v.dialTo()
		}, true},
		{"the session was closed", func(v *victim) error {
			v.s.Close()
			return <-v.dialTo()
		}, true},
		{"it waited for room in the ring", func(v *victim) error {
			v.crowd()
			got := v.dialTo()
			v.end.Fail(lost)
			return <-got
		}, true},
		{"it was in the ring", func(v *victim) error {
			got := v.dialTo()
			v.end.Fail(lost)
			return <-got
		}, false},
		{"it was refused", func(v *victim) error {
			got := v.dialTo()
			v.send(header{src: 7, dst: 40000, op: opReset}, nil)
			return <-got
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v := newVictim(t, Config{})
				defer v.stop()
				err := c.lose(v)
				var reset *ResetError
				if !errors.As(err, &reset) || reset.Unsent != c.unsent {
					t.Errorf("Dial() = %#v, want Unsent %v", err, c.unsent)
				}
				if c.unsent && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("Dial() = %v, want ECONNRESET", err)
				}
			})
		})
	}
}
