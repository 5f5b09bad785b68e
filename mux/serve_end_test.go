package mux

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"xvsock/mux/muxtest"
)

// A panic in the goroutine of a Read or Write ends the link, and the call with it, as
// one in the pump does (rule R16). How that goroutine takes faults stays as it was.
func TestAPanicOfWhoServesEndsTheLinkAlone(t *testing.T) {
	for name, use := range map[string]func(c *Conn) error{
		"in a Read":  func(c *Conn) error { _, err := c.Read(make([]byte, 10)); return err },
		"in a Write": func(c *Conn) error { _, err := c.Write(make([]byte, 100<<10)); return err },
	} {
		for _, mapped := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					var log strings.Builder
					accepted := make(backlog, 4)
					v, g, c := gatedOver(t, accepted, Config{
						Log: slog.New(slog.NewTextHandler(&log, nil)),
						Route: func(local, remote uint32) Route {
							if local == 8 {
								panic("a bug")
							}
							return accepted.listen(local, remote)
						},
					}, mapped)
					done := make(chan error)
					go func() {
						err := use(c)
						if debug.SetPanicOnFault(false) {
							t.Error("faults of this goroutine have become panics")
						}
						done <- err
					}()
					<-g.polls
					h := in(opRequest)
					h.dst = 8
					v.put(h, nil)
					g.answers <- true
					if err := <-done; !errors.Is(err, ErrBug) || !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("it returned %v", err)
					}
					if err := <-v.done; !errors.Is(err, ErrBug) {
						t.Errorf("Run returned %v", err)
					}
					if !strings.Contains(log.String(), "a bug") {
						t.Errorf("the log has %q", log.String())
					}
					c.Close()
				})
			})
		}
	}
}

// Where peeked bytes can fault, the goroutine that serves reads them so that a fault is
// a panic, and one that wants that for itself keeps it.
func TestWhoServesTakesFaultsAsPanics(t *testing.T) {
	for _, mapped := range []bool{false, true} {
		for _, before := range []bool{false, true} {
			bubble(t, func(t *testing.T) {
				var during atomic.Bool
				accepted := make(backlog, 4)
				v, g, c := gatedOver(t, accepted, Config{Route: func(local, remote uint32) Route {
					if local == 8 {
						on := debug.SetPanicOnFault(true)
						debug.SetPanicOnFault(on)
						during.Store(on)
					}
					return accepted.listen(local, remote)
				}}, mapped)
				defer v.stop()
				done := make(chan bool)
				go func() {
					debug.SetPanicOnFault(before)
					_, _ = c.Read(make([]byte, 10))
					done <- debug.SetPanicOnFault(false)
				}()
				<-g.polls
				h := in(opRequest)
				h.src, h.dst = 1001, 8
				v.put(h, nil)
				v.put(in(opData), []byte("x"))
				g.answers <- true
				if after := <-done; after != before || during.Load() != (mapped || before) {
					t.Errorf("mapped: %v; faults are panics before: %v, during: %v, after: %v", mapped, before, during.Load(), after)
				}
				g.cool()
				(<-accepted).Close()
				c.Close()
			})
		}
	}
}

// gatedOver is gated where the Route has its own backlog.
func gatedOver(t *testing.T, accepted backlog, cfg Config, mapped bool) (*victim, *gate, *Conn) {
	t.Helper()
	g := &gate{polls: make(chan struct{}, 100), answers: make(chan bool), mapped: mapped}
	v := newVictimOver(t, cfg, 64<<10, func(e *muxtest.End) Transport { g.End = e; return g }, courteous)
	v.accepted = accepted
	c := v.connect(1000)
	g.hot.Store(true)
	return v, g, c
}

// The transport is nobody's once Run has returned, so Run waits for who serves.
func TestTheTransportIsNotUsedAfterRun(t *testing.T) {
	for name, end := range map[string]func(v *victim){
		"the session is closed": func(v *victim) { v.s.Close() },
		"the link fails":        func(v *victim) { v.end.Fail(errors.New("gone")) },
		"the other side lies":   func(v *victim) { v.put(header{op: 99}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v, g, c := gated(t, Config{}, false)
				done := reading(g, c, make([]byte, 10))
				end(v)
				for range 1000 { // no Wait and no Sleep: Run waits by a lock
					runtime.Gosched()
				}
				if len(v.done) > 0 {
					t.Fatal("Run has returned while a Read polls")
				}
				g.answers <- true
				<-v.done
				g.over.Store(true)
				if r := <-done; r.err == nil {
					t.Error("the Read goes on")
				}
				_, _ = c.Read(make([]byte, 10))
				_, _ = c.Write([]byte("x"))
				c.Close()
				synctest.Wait()
				if n := g.late.Load(); n != 0 {
					t.Errorf("%d uses of the transport after Run", n)
				}
			})
		})
	}
}

// flood is a Transport on which there is always one more frame: of no tuple, as they
// cost the sender least. stop ends it.
type flood struct {
	*muxtest.End
	on, stop atomic.Bool
	seq      uint32 // of the receive side
	frame    [headerSize]byte
}

func (f *flood) Hot() bool { return f.on.Load() }

func (f *flood) Poll() (bool, error) { return !f.stop.Load(), f.Err() }

func (f *flood) Rest() (bool, error) { return f.flooding(), f.Err() }

func (f *flood) flooding() bool { return f.on.Load() && !f.stop.Load() }

func (f *flood) Peek(n int) (a, b []byte, err error) {
	if a, b, err = f.End.Peek(n); err != nil || len(a)+len(b) > 0 || !f.flooding() {
		return a, b, err
	}
	h := header{src: 9999, dst: 9, typ: typeStream, op: opReset, seq: f.seq}
	h.encode(&f.frame)
	return f.frame[:], nil, nil
}

func (f *flood) Discard(n int) {
	f.seq++
	if a, b, _ := f.End.Peek(n); len(a)+len(b) > 0 {
		f.End.Discard(n)
	}
}

// A peer that never lets the ring run empty keeps no Read, and no Write: its deadline
// ends it, and so does what it waits for.
func TestAFloodKeepsNobodyOnDuty(t *testing.T) {
	for name, c := range map[string]struct {
		use func(c *Conn) error
	}{
		"a Read":  {func(c *Conn) error { _, err := c.Read(make([]byte, 10)); return err }},
		"a Write": {func(c *Conn) error { _, err := c.Write(make([]byte, 100<<10)); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			f := new(flood)
			accepted := make(backlog, 1)
			end, other := muxtest.Pipe(64 << 10)
			f.End = end
			s := NewSession(f, Config{Route: accepted.listen})
			ran := run(s)
			p := &peer{t: t, end: other}
			p.raw(p.encode(in(opRequest), nil))
			conn := wait(t, accepted)
			_ = conn.SetDeadline(time.Now().Add(20 * time.Millisecond))
			done := make(chan error, 1)
			f.on.Store(true)
			go func() { done <- c.use(conn) }()
			select {
			case err := <-done:
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("it returned %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Error("its deadline does not end it")
			}
			f.stop.Store(true)
			conn.Close()
			s.Close()
			<-ran
		})
	}
}

// pacer is a Transport whose Poll finds news every 10 ms, for as long as it is on,
// with whatever the ring holds.
type pacer struct {
	*muxtest.End
	on    atomic.Bool
	calm  atomic.Bool
	every func() // unless it is calm
}

func (p *pacer) Hot() bool { return p.on.Load() }

func (p *pacer) Poll() (bool, error) {
	if !p.on.Load() {
		return false, p.Err()
	}
	time.Sleep(10 * time.Millisecond)
	if !p.calm.Load() {
		p.every()
	}
	if err := p.Look(); err != nil {
		return false, err
	}
	return true, nil
}

// One Read that is on duty all the time does what the pump would: the time of other
// connections runs, and so does that of the link.
func TestTheTimesOfOthersRunWhileOneReadServes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := new(pacer)
		v := newVictimOver(t, Config{}, 64<<10, func(e *muxtest.End) Transport { g.End = e; return g })
		c, other := v.connect(1000), v.connect(1001)
		g.every = func() { v.put(header{src: 5000, dst: 5000, op: opReset}, nil) } // the link is not silent
		g.on.Store(true)
		read := make(chan error, 1)
		go func() { _, err := c.Read(make([]byte, 1)); read <- err }()
		time.Sleep(time.Second)
		start := time.Now()
		other.Close()
		v.expectWithin(start, lingerTime+3*time.Second, opReset)
		if took := time.Since(start); took < lingerTime {
			t.Errorf("the tuple has lingered for %v only", took)
		}
		// Now nothing comes any more, though Poll says so.
		g.calm.Store(true)
		start = time.Now()
		err := <-read
		if took := time.Since(start); !errors.Is(err, ErrSilent) || took > DefaultSilence+3*time.Second {
			t.Errorf("Read returned %v after %v", err, took)
		}
		if err := <-v.done; !errors.Is(err, ErrSilent) {
			t.Errorf("Run returned %v", err)
		}
		c.Close()
	})
}

// expectWithin waits until the session sends a frame of op.
func (p *peer) expectWithin(start time.Time, limit time.Duration, op uint16) {
	p.t.Helper()
	for time.Since(start) < limit {
		time.Sleep(50 * time.Millisecond)
		for {
			a, b, _ := p.end.Peek(headerSize)
			if len(a)+len(b) == 0 {
				break
			}
			var raw [headerSize]byte
			gather(raw[:], a, b, 0)
			h := decodeHeader(&raw)
			p.got++
			p.end.Discard(frameSize(int(h.size)))
			if h.op == op {
				return
			}
		}
	}
	p.t.Errorf("no frame of op %d within %v", op, limit)
}

// A Write that waits for credit takes the credit that comes itself.
func TestAWriteThatWaitsTakesCreditItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, g, c := gated(t, Config{}, false)
		defer v.stop()
		done := make(chan result, 1)
		go func() {
			n, err := c.Write(make([]byte, 70<<10))
			done <- result{n, err}
		}()
		<-g.polls
		v.frames()
		h := in(opCreditUpdate)
		h.fwdCnt = 40 << 10
		v.put(h, nil)
		_ = v.end.Look()
		looks := g.looks.Load()
		g.answer(true)
		select {
		case r := <-done:
			if r.n != 70<<10 || r.err != nil {
				t.Errorf("Write: %d, %v", r.n, r.err)
			}
		default:
			t.Error("the Write waits")
		}
		if n := g.looks.Load(); n != looks {
			t.Error("the pump has looked first")
		}
		g.cool()
		c.Close()
	})
}

func TestConnOverEndsThatPoll(t *testing.T) {
	for name, looks := range map[string][2]int{
		"both sides poll": {20, 20}, "one side polls": {20, 0}, "the other side polls": {0, 20},
	} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				p := newUnevenPair(4<<10, looks[0], looks[1])
				c1, err := p.a.Dial(context.Background(), 1<<31, 7)
				if err != nil {
					return nil, nil, nil, err
				}
				c2 := <-p.accepted
				return c1, c2, func() {
					c1.Close()
					c2.Close()
					p.stop()
				}, nil
			})
		})
	}
}

// newUnevenPair is a pair of which each side polls as often as it says.
func newUnevenPair(ring, a, b int) *pair {
	p := &pair{accepted: make(backlog, 64)}
	p.endA, p.endB = muxtest.Pipe(ring)
	p.endA.Heat(a)
	p.endB.Heat(b)
	p.a = NewSession(p.endA, Config{})
	p.b = NewSession(p.endB, Config{Route: p.accepted.listen})
	p.doneA, p.doneB = run(p.a), run(p.b)
	return p
}

func TestAMessageBetweenEndsThatPollAllocatesNothing(t *testing.T) {
	for name, looks := range map[string][2]int{"both sides poll": {100, 100}, "one side polls": {100, 0}} {
		t.Run(name, func(t *testing.T) {
			p := newUnevenPair(64<<10, looks[0], looks[1])
			defer p.stop()
			a, b := p.connect(t, 1<<31)
			defer a.Close()
			defer b.Close()
			go func() { _, _ = copyAll(b) }()
			msg, got := make([]byte, 1000), make([]byte, 1000)
			trip := func() {
				if _, err := a.Write(msg); err != nil {
					t.Error(err)
				}
				for n := 0; n < len(got); {
					k, err := a.Read(got[n:])
					if n += k; err != nil {
						t.Error(err)
						return
					}
				}
			}
			for range 100 {
				trip()
			}
			if n := testing.AllocsPerRun(500, trip); n != 0 {
				t.Errorf("%v allocations a round trip", n)
			}
		})
	}
}

// copyAll sends back what comes, through one buffer.
func copyAll(c *Conn) (n int, err error) {
	buf := make([]byte, 4096)
	for {
		k, err := c.Read(buf)
		if err != nil {
			return n, err
		}
		if _, err := c.Write(buf[:k]); err != nil {
			return n, err
		}
		n += k
	}
}
