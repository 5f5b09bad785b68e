package mux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"xvsock/mux/muxtest"
)

// gate is a Transport whose Poll asks the test: it says on polls that somebody polls,
// and returns what comes from answers. So a Read can be held in the middle of its
// serve, in a bubble.
type gate struct {
	*muxtest.End
	hot     atomic.Bool
	mapped  bool
	polls   chan struct{}
	answers chan bool
	looks   atomic.Int32
	over    atomic.Bool  // Run has returned
	late    atomic.Int32 // uses after that
}

func (g *gate) Hot() bool { return g.hot.Load() }

func (g *gate) Poll() (bool, error) {
	g.use()
	g.polls <- struct{}{}
	news := <-g.answers
	g.use()
	return news, g.End.Err()
}

func (g *gate) Look() error {
	g.use()
	g.looks.Add(1)
	return g.End.Look()
}

func (g *gate) Peek(n int) (a, b []byte, err error) { g.use(); return g.End.Peek(n) }
func (g *gate) Discard(n int)                       { g.use(); g.End.Discard(n) }
func (g *gate) Mapped() bool                        { return g.mapped }
func (g *gate) Fault(any) error                     { return nil }

func (g *gate) use() {
	if g.over.Load() {
		g.late.Add(1)
	}
}

// answer has the Poll under way return.
func (g *gate) answer(news bool) {
	g.answers <- news // no Wait before it: a pump at its end waits for the Read by a lock
	synctest.Wait()
}

// cool has no more Read poll, and lets the pump come to rest.
func (g *gate) cool() {
	g.hot.Store(false)
	time.Sleep(time.Millisecond)
	synctest.Wait()
}

// gated is a victim behind a gate with a connection from port 1000.
func gated(t *testing.T, cfg Config, mapped bool) (*victim, *gate, *Conn) {
	t.Helper()
	g := &gate{polls: make(chan struct{}, 100), answers: make(chan bool), mapped: mapped}
	v := newVictimOver(t, cfg, 64<<10, func(e *muxtest.End) Transport { g.End = e; return g }, courteous)
	c := v.connect(1000)
	g.hot.Store(true)
	return v, g, c
}

// courteous has the pump let others come first, as it does where there is more than one
// processor: so a test sees what was done without it.
func courteous(s *Session) { s.duty.shared = true }

// result is what a Read has returned.
type result struct {
	n   int
	err error
}

// reading begins a Read and waits until it polls.
func reading(g *gate, c *Conn, p []byte) <-chan result {
	done := make(chan result, 1)
	go func() {
		n, err := c.Read(p)
		done <- result{n, err}
	}()
	<-g.polls
	synctest.Wait()
	return done
}

// put puts a frame into the ring of which nobody hears.
func (p *peer) put(h header, payload []byte) {
	b := p.encode(h, payload)
	x, y := p.end.Reserve(len(b))
	scatter(x, y, 0, b)
	if err := p.end.Commit(len(b)); err != nil {
		p.t.Fatal(err)
	}
}

func TestAReadThatWaitsTakesWhatComesItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, g, c := gated(t, Config{}, false)
		defer v.stop()
		p := make([]byte, 100)
		done := reading(g, c, p)
		v.put(in(opData), []byte("for whoever waits"))
		looks := g.looks.Load()
		g.answer(true)
		select {
		case r := <-done:
			if string(p[:r.n]) != "for whoever waits" || r.err != nil {
				t.Errorf("Read: %q, %v", p[:r.n], r.err)
			}
		default:
			t.Fatal("the Read still waits")
		}
		if c.recv.buf != nil {
			t.Error("the bytes went through a buffer")
		}
		if n := g.looks.Load(); n != looks {
			t.Errorf("%d looks of the pump before the Read has returned", n-looks)
		}
		// Nobody polls any more, and the other side may rely on somebody who does.
		g.cool()
		if g.looks.Load() == looks {
			t.Error("the pump has not looked after a Read that polled")
		}
		c.Close()
	})
}

// A Wake, or an event, that finds a Read on duty is work for the pump once that leaves.
func TestAPumpThatFindsAReadOnDutyLooksWhenThatLeaves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, g, c := gated(t, Config{}, false)
		defer v.stop()
		done := reading(g, c, make([]byte, 100))
		looks := g.looks.Load()
		v.s.Wake()
		synctest.Wait()
		if n := g.looks.Load(); n != looks {
			t.Error("two goroutines use the receive side")
		}
		g.answer(false)
		g.cool()
		if g.looks.Load() == looks {
			t.Error("the pump has not looked")
		}
		c.Close()
		if r := <-done; r.err != net.ErrClosed {
			t.Errorf("Read: %v", r.err)
		}
	})
}

// What ends a Read ends it when it polls, as soon as the Poll returns, whatever that found.
func TestWhatEndsAReadEndsItWhileItPolls(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(v *victim, c *Conn)
		want error
	}{
		"Close":       {func(_ *victim, c *Conn) { c.Close() }, net.ErrClosed},
		"CloseRead":   {func(_ *victim, c *Conn) { _ = c.CloseRead() }, io.EOF},
		"Reset":       {func(_ *victim, c *Conn) { _ = c.Reset(ReasonNone) }, net.ErrClosed},
		"a deadline":  {func(_ *victim, c *Conn) { _ = c.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		"a RST":       {func(v *victim, _ *Conn) { v.put(in(opReset), nil) }, syscall.ECONNRESET},
		"a SHUTDOWN":  {func(v *victim, _ *Conn) { h := in(opShutdown); h.flags = shutSend; v.put(h, nil) }, io.EOF},
		"the session": {func(v *victim, _ *Conn) { v.s.Close() }, syscall.ECONNRESET},
	} {
		for _, news := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					v, g, conn := gated(t, Config{}, false)
					done := reading(g, conn, make([]byte, 100))
					c.end(v, conn)
					g.hot.Store(false) // the Read polls no more
					g.answer(news)
					time.Sleep(time.Second)
					synctest.Wait()
					select {
					case r := <-done:
						if r.n != 0 || !errors.Is(r.err, c.want) {
							t.Errorf("Read: %d, %v, want %v", r.n, r.err, c.want)
						}
					case <-g.polls: // it goes on: there was no frame in what the Poll found
						t.Error("the Read polls again")
					default:
						t.Error("the Read waits")
					}
					conn.Close()
					v.stop()
				})
			})
		}
	}
}

// Bytes that lie in the buffer of a Read are that Read's, whatever comes then.
func TestWhatWasPlacedIsNotLost(t *testing.T) {
	for name, end := range map[string]func(v *victim, c *Conn){
		"a deadline": func(_ *victim, c *Conn) { _ = c.SetReadDeadline(time.Unix(1, 0)) },
		"CloseRead":  func(_ *victim, c *Conn) { _ = c.CloseRead() },
		"Close":      func(_ *victim, c *Conn) { c.Close() },
		"a RST":      func(v *victim, _ *Conn) { v.send(in(opReset), nil) },
		"both ends shut": func(v *victim, _ *Conn) {
			h := in(opShutdown)
			h.flags = shutBoth
			v.send(h, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v, g, c := gated(t, Config{}, false)
				defer v.stop()
				p := make([]byte, 100)
				done := reading(g, c, p)
				// As if the pump were there first: the Read is held in its Poll.
				if wrong := c.recv.fill([]byte("placed"), []byte(" and kept")); wrong != "" {
					t.Fatal(wrong)
				}
				v.s.duty.mu.Unlock() // the pump may work
				end(v, c)
				synctest.Wait()
				v.s.duty.mu.Lock()
				g.answer(false)
				if r := <-done; string(p[:r.n]) != "placed and kept" || r.err != nil {
					t.Errorf("Read: %q, %v", p[:r.n], r.err)
				}
				if _, err := c.Read(p); err == nil {
					t.Error("the next Read does not end")
				}
				g.cool()
				c.Close()
			})
		})
	}
}

// A Read whose buffer is full leaves the rest for the next one, in order.
func TestWhatASmallReadLeavesIsTheNextOnes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, g, c := gated(t, Config{}, false)
		defer v.stop()
		p := make([]byte, 3)
		done := reading(g, c, p)
		v.put(in(opData), []byte("abcde"))
		v.put(in(opData), []byte("fg"))
		g.answer(true)
		got := append([]byte(nil), p[:(<-done).n]...)
		if v.peer.end.Lying() == 0 {
			t.Error("what came after is in no ring any more: it costs one more copy")
		}
		g.cool()
		for len(got) < 7 {
			n, err := c.Read(p)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p[:n]...)
		}
		if string(got) != "abcdefg" {
			t.Errorf("read %q", got)
		}
		c.Close()
	})
}

func TestAReadOfNothingDoesNotWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, g, c := gated(t, Config{}, false)
		defer v.stop()
		if n, err := c.Read(nil); n != 0 || err != nil {
			t.Errorf("Read: %d, %v", n, err)
		}
		if c.recv.dest != nil || len(g.polls) > 0 {
			t.Error("it has posted a buffer, or polled")
		}
		g.cool()
		c.Close()
	})
}

// Of two Reads at once one has posted its buffer. The other one takes that one's bytes
// for nobody's news: it sleeps.
func TestOfTwoReadsOneSleeps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newReceiver(NewBudget(1<<20, nil), 0)
		first := make([]byte, 10)
		r.mu.Lock()
		r.dest = first // of a Read that has not been woken yet
		r.mu.Unlock()
		r.fill([]byte("abc"), nil)
		var returned atomic.Bool
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.wait(make([]byte, 10), nobody)
			returned.Store(true)
		}()
		synctest.Wait()
		if returned.Load() {
			t.Error("the second Read does not sleep")
		}
		r.end(nil)
		<-gone
		if r.placed != 3 || string(first[:3]) != "abc" {
			t.Errorf("the first Read's bytes are %q", first[:r.placed])
		}
	})
}

func TestTwoReadsAtOnceGetEachByteOnce(t *testing.T) {
	const size = 200 << 10
	p := newUnevenPair(64<<10, 4, 4)
	defer p.stop()
	a, b := p.connect(t, 1<<31)
	defer a.Close()
	defer b.Close()
	var sum, n atomic.Int64
	done := make(chan error, 3)
	for range 3 {
		go func() {
			buf := make([]byte, 1000)
			for {
				k, err := b.Read(buf)
				for _, x := range buf[:k] {
					sum.Add(int64(x))
				}
				n.Add(int64(k))
				if err != nil {
					done <- err
					return
				}
			}
		}()
	}
	want := int64(0)
	msg := make([]byte, size)
	for i := range msg {
		msg[i] = byte(i * 7)
		want += int64(msg[i])
	}
	if _, err := a.Write(msg); err != nil {
		t.Fatal(err)
	}
	_ = a.CloseWrite()
	for range 3 {
		if err := wait(t, done); err != io.EOF {
			t.Errorf("Read: %v", err)
		}
	}
	if n.Load() != size || sum.Load() != want {
		t.Errorf("%d bytes of sum %d, want %d of sum %d", n.Load(), sum.Load(), size, want)
	}
}

// A Read that waits with its buffer posted changes nothing in what a receiver is: a FIFO
// that refuses what its window does not hold, and says what it has room for.
func TestAReceiverWithAReadThatWaitsIsAFIFO(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBudget(1<<20, nil)
		r := newReceiver(b, rapid.Uint32().Draw(t, "start"))
		var model bytes.Buffer
		var next byte
		fill := func() {
			p := make([]byte, rapid.SampledFrom([]int{0, 1, 100, 5000, 40 << 10, 65 << 10}).Draw(t, "bytes"))
			for i := range p {
				next++
				p[i] = next
			}
			at := rapid.IntRange(0, len(p)).Draw(t, "cut")
			fits := len(p) <= int(r.window)-int(r.got-r.taken)
			if wrong := r.fill(p[:at], p[at:]); (wrong == "") != fits {
				t.Fatalf("%d bytes beside %d of %d: %q", len(p), r.got-r.taken, r.window, wrong)
			}
			if fits {
				model.Write(p)
			} else {
				next -= byte(len(p))
			}
			if o := r.offer.Load(); uint32(o) != r.taken || uint32(o>>32) != r.window {
				t.Fatalf("told %d of %d, is %d of %d", uint32(o), o>>32, r.taken, r.window)
			}
			if held := int(r.got-r.taken) + r.placed; held != model.Len() {
				t.Fatalf("%d bytes held, want %d", held, model.Len())
			}
			if int64(len(r.buf)) > r.booked {
				t.Fatalf("%d bytes allocated, %d booked", len(r.buf), r.booked)
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "fill") {
				fill()
				continue
			}
			p := make([]byte, rapid.SampledFrom([]int{1, 64, 4096, 100 << 10}).Draw(t, "room"))
			n, update, _, err := r.read(p, func() { // what it waits for comes while it waits
				for range rapid.IntRange(1, 3).Draw(t, "frames") {
					fill()
				}
				if model.Len() == 0 {
					r.mu.Lock()
					r.deadline.set(time.Unix(1, 0), nobody)
					r.mu.Unlock()
				}
			})
			r.mu.Lock()
			r.deadline.set(time.Time{}, nobody)
			r.mu.Unlock()
			if want := model.Next(len(p)); !bytes.Equal(p[:n], want[:min(n, len(want))]) || (n < len(want)) && n == 0 {
				t.Fatalf("read %d bytes, %v, want %d", n, err, len(want))
			} else if n < len(want) {
				rest := append(want[n:len(want):len(want)], model.Bytes()...)
				model = *bytes.NewBuffer(append([]byte(nil), rest...))
			}
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			if r.dest != nil || r.placed != 0 {
				t.Fatal("the buffer of a Read that has returned is still posted")
			}
			if update {
				r.stamp()
			}
		}
	})
}
