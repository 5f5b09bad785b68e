package mux

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"xvsock/mux/muxtest"
)

// elapsed fails unless since start about want has passed.
func elapsed(t *testing.T, start time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(start); got < want || got > want+probeInterval {
		t.Errorf("it took %v, want %v", got, want)
	}
}

func TestLingerEndsWithReset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{})
		defer v.stop()
		c := v.connect(1000)
		start := time.Now()
		c.Close()
		h := v.expect(opShutdown)[0]
		if h.flags != shutBoth {
			t.Errorf("SHUTDOWN flags %d, want both", h.flags)
		}
		time.Sleep(lingerTime - time.Millisecond)
		v.expect()
		if st := v.s.Conns(); len(st) != 1 || st[0].State != "lingering" {
			t.Errorf("Conns() = %v, want one lingering", st)
		}
		for v.s.Stats().Open > 0 {
			time.Sleep(time.Millisecond)
		}
		elapsed(t, start, lingerTime)
		v.expect(opReset)
	})
}

// The half-closes of both sides start the linger time too, and what was
// received can still be read after it.
func TestLingerAfterTwoHalfCloses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{})
		defer v.stop()
		c := v.connect(1000)
		defer c.Close()
		v.send(in(opData), []byte("late"))
		h := in(opShutdown)
		h.flags = shutSend
		v.send(h, nil)
		time.Sleep(2 * lingerTime)
		v.expect(opCreditRequest) // open in one direction, so it is asked
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		v.expect(opShutdown)
		time.Sleep(lingerTime + time.Second)
		if got := v.expect(opReset); len(got) != 1 {
			t.Errorf("%d RST, want 1", len(got))
		}
		if b, err := io.ReadAll(c); string(b) != "late" || err != nil {
			t.Errorf("ReadAll() = %q, %v, want what was received", b, err)
		}
	})
}

func TestDialGivesUp(t *testing.T) {
	for name, test := range map[string]struct {
		ctx  func(context.Context) (context.Context, context.CancelFunc)
		want error
		took time.Duration
	}{
		"after Config.DialTimeout": {context.WithCancel, syscall.ETIMEDOUT, 3 * time.Second},
		"at the deadline of its context": {
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, time.Second)
			}, context.DeadlineExceeded, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := NewBudget(DefaultBudget, nil)
				v := newVictim(t, Config{Budget: b, DialTimeout: 3 * time.Second})
				defer v.stop()
				ctx, cancel := test.ctx(t.Context())
				defer cancel()
				start := time.Now()
				_, err := v.s.Dial(ctx, 40000, 7)
				if !errors.Is(err, test.want) {
					t.Errorf("Dial() = %v, want %v", err, test.want)
				}
				elapsed(t, start, test.took)
				v.expect(opRequest, opReset)
				if b.Used() != 0 || v.s.Stats().Open != 0 {
					t.Errorf("%d bytes and %d tuples left", b.Used(), v.s.Stats().Open)
				}
				// A late RESPONSE is answered by RST.
				v.send(header{src: 7, dst: 40000, op: opResponse}, nil)
				v.expect(opReset)
			})
		})
	}
}

// A REQUEST that never entered the ring is forgotten without a trace.
func TestDialGivesUpBeforeItIsSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{})
		defer v.stop()
		for v.end.Lying() < 64<<10 {
			h := in(opShutdown)
			v.send(h, nil)
		}
		if _, err := v.s.Dial(t.Context(), 40000, 7); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("Dial() = %v, want ETIMEDOUT", err)
		}
		for _, h := range v.frames() {
			if h.op != opReset || h.src != 7 {
				t.Fatalf("session sent op %d from %d", h.op, h.src)
			}
		}
		v.settle()
		v.expect()
	})
}

func TestSilence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{})
		c := v.connect(1000)
		defer c.Close()
		start := time.Now()
		if err := <-v.done; err != ErrSilent {
			t.Fatalf("Run() = %v, want ErrSilent", err)
		}
		elapsed(t, start, DefaultSilence)
		v.expect(slices.Repeat([]uint16{opCreditRequest}, 5)...)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, ErrSilent) || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("Read() = %v, want ECONNRESET because of silence", err)
		}
	})
}

// A peer that answers CREDIT_REQUEST, and nothing else, keeps its link.
func TestAnsweredSilenceIsNone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(64<<10, Config{})
		defer p.stop()
		a, b := p.connect(t, 5000)
		defer a.Close()
		defer b.Close()
		time.Sleep(time.Hour)
		if _, err := a.Write([]byte("x")); err != nil {
			t.Errorf("Write() after an hour = %v", err)
		}
		if _, err := b.Read(make([]byte, 1)); err != nil {
			t.Errorf("Read() after an hour = %v", err)
		}
		if n := p.a.Stats().FramesOut; n < 300 || n > 800 {
			t.Errorf("%d frames in a quiet hour, want about 360 from one side or the other", n)
		}
	})
}

// A link that carries only what stands as long as it does is looked at seldom, but every
// second as soon as it carries more; and a silent peer loses it all the same.
func TestAStandingConnectionIsLookedAtSeldom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rec := &waitRecorder{}
		v := newVictimOver(t, Config{Standing: 7}, 64<<10, func(e *muxtest.End) Transport {
			rec.Transport = heated(e)
			return rec
		})
		start := time.Now()
		want := func(name string, d time.Duration) {
			t.Helper()
			v.settle()
			if got := time.Duration(rec.last.Load()); got != d {
				t.Errorf("%s: Sleep(%v), want %v", name, got, d)
			}
		}
		go func() { _, _ = v.s.Dial(t.Context(), 40000, 7) }()
		want("the standing connection", askInterval)
		v.expect(opRequest)
		v.send(header{src: 7, dst: 40000, op: opResponse}, nil)
		want("established", askInterval)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, _ = v.s.Dial(ctx, 40001, 8) }()
		want("another one beside it", probeInterval)
		v.expect(opRequest)
		v.send(header{src: 8, dst: 40001, op: opReset}, nil)
		want("which is refused", askInterval)
		cancel()
		if err := <-v.done; !errors.Is(err, ErrSilent) {
			t.Errorf("the session ended with %v", err)
		}
		elapsed(t, start, DefaultSilence)
	})
}

// Time that this domain was stopped is not held against the other side.
func TestStoppedPumpIsNotSilence(t *testing.T) {
	s := &Session{}
	now := time.Now()
	s.turned = now
	s.hear(now)
	for _, step := range []struct {
		name   string
		pass   time.Duration
		heard  bool
		silent time.Duration
	}{
		{"an ordinary turn", time.Second, false, time.Second},
		{"stopped for ten minutes", 10 * time.Minute, false, time.Second},
		{"an ordinary turn after", time.Second, false, 2 * time.Second},
		{"a frame", time.Second, true, 0},
		{"stopped again", time.Hour, false, 0},
	} {
		now = now.Add(step.pass)
		s.keepTime(now, step.heard)
		if got := now.Sub(s.heard); got != step.silent {
			t.Errorf("%s: silent for %v, want %v", step.name, got, step.silent)
		}
	}
}

// waitRecorder notes what the pump asks of Wait.
type waitRecorder struct {
	Transport
	last atomic.Int64
}

func (w *waitRecorder) Sleep(d time.Duration) error {
	w.last.Store(int64(d))
	return w.Transport.Sleep(d)
}

// A link without connections costs nothing, one with is probed every second.
func TestPumpSleepsWithoutLimitWhenIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rec := &waitRecorder{}
		v := newVictimOver(t, Config{}, 64<<10, func(e *muxtest.End) Transport {
			rec.Transport = heated(e)
			return rec
		})
		defer v.stop()
		want := func(name string, d time.Duration) {
			t.Helper()
			v.settle()
			if got := time.Duration(rec.last.Load()); got != d {
				t.Errorf("%s: Wait(%v), want %v", name, got, d)
			}
		}
		want("no connection", 0)
		dialed := make(chan *Conn)
		go func() {
			c, _ := v.s.Dial(t.Context(), 40000, 7)
			dialed <- c
		}()
		want("dialing", probeInterval)
		v.expect(opRequest)
		v.send(header{src: 7, dst: 40000, op: opResponse}, nil)
		want("established", probeInterval)
		(<-dialed).Close()
		time.Sleep(lingerTime - 500*time.Millisecond)
		v.end.Wake()
		want("half a second before the linger time ends", 500*time.Millisecond)
		v.send(header{src: 7, dst: 40000, op: opReset}, nil)
		want("closed", 0)
	})
}

func TestDeadlines(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{})
		defer v.stop()
		c := v.connect(1000)
		defer c.Close()
		start := time.Now()
		_ = c.SetReadDeadline(start.Add(3 * time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read() = %v, want a timeout", err)
		}
		elapsed(t, start, 3*time.Second)
		// A deadline without a monotonic reading, and one that is moved while waiting.
		start = time.Now()
		_ = c.SetReadDeadline(start.Round(0).Add(time.Second))
		go func() {
			time.Sleep(500 * time.Millisecond)
			_ = c.SetReadDeadline(start.Add(5 * time.Second))
		}()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read() = %v, want a timeout", err)
		}
		elapsed(t, start, 5*time.Second)
	})
}
