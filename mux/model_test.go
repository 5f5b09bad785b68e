package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// half is one direction of a connection, as the model sees it.
type half struct {
	from, to   *Conn
	id         byte
	sent, read int
	busy       chan int // gives what the Write going on has written
	shut       bool     // the writer is done
	deaf       bool     // the reader is done
	reset      *bool    // of the connection
}

// pattern is the byte at position i of the half.
func (h *half) pattern(i int) byte { return byte(i) ^ byte(i>>8)*31 ^ h.id }

func (h *half) settled() bool {
	if h.busy != nil {
		select {
		case n := <-h.busy:
			h.sent += n
			h.busy = nil
		default:
		}
	}
	return h.busy == nil
}

func (h *half) write(n int) {
	if !h.settled() {
		return
	}
	p := make([]byte, n)
	for i := range p {
		p[i] = h.pattern(h.sent + i)
	}
	done := make(chan int, 1)
	h.busy = done
	go func() {
		n, _ := h.from.Write(p)
		done <- n
	}()
}

// next reads once and checks that what is read is what was written, in order,
// and that the end comes neither early nor from nowhere.
func (h *half) next(t *rapid.T, size int) (end bool) {
	if h.deaf {
		return true
	}
	_ = h.to.SetReadDeadline(time.Now().Add(time.Millisecond))
	p := make([]byte, size)
	n, err := h.to.Read(p)
	for i := range n {
		if p[i] != h.pattern(h.read+i) {
			t.Fatalf("byte %d is wrong", h.read+i)
		}
	}
	h.read += n
	h.settled()
	switch {
	case err == nil || isTimeout(err):
		return false
	case errors.Is(err, io.EOF):
		if !h.shut && !*h.reset || h.busy == nil && h.read != h.sent && !*h.reset {
			t.Fatalf("end of file after %d of %d bytes", h.read, h.sent)
		}
	case errors.Is(err, syscall.ECONNRESET) && *h.reset:
	default:
		t.Fatalf("Read() = %v", err)
	}
	return true
}

type world struct {
	p     *pair
	held  atomic.Int64 // permits
	a, b  *Budget
	halfs []*half
	port  uint32
}

// permit implements Config.Permit for both sessions.
func (w *world) permit(uint32, uint32, bool) (Permit, Reason) {
	w.held.Add(1)
	return &worldPermit{w: w}, ReasonNone
}

type worldPermit struct {
	w    *world
	gone atomic.Bool
}

// Release implements Permit.
func (p *worldPermit) Release() {
	if p.gone.Swap(true) {
		panic("a permit is released twice")
	}
	p.w.held.Add(-1)
}

func (w *world) dial(t *rapid.T) {
	if len(w.halfs) >= 12 {
		return
	}
	w.port++
	c, err := w.p.a.Dial(context.Background(), w.port, 7)
	if err != nil {
		t.Fatalf("Dial() = %v", err)
	}
	d := <-w.p.accepted
	reset := new(bool)
	w.halfs = append(w.halfs,
		&half{from: c, to: d, id: byte(w.port), reset: reset},
		&half{from: d, to: c, id: ^byte(w.port), reset: reset})
}

// close ends one end of the connection whose halves are at i and i^1.
func (w *world) close(i int) {
	out, in := w.halfs[i], w.halfs[i^1]
	out.from.Close()
	out.shut, in.deaf = true, true
}

// Two sessions, any number of connections and any order of calls: each reader
// sees a prefix of what was written, all of it if the writer closed, nobody
// breaks a rule of the protocol (credit is one), and nothing is left at the end.
func TestAnyOrderOfCalls(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		inBubble(t, func() {
			t := rt
			ring := rapid.SampledFrom([]int{4 << 10, 64 << 10, 512 << 10}).Draw(t, "ring")
			w := &world{a: NewBudget(DefaultBudget, nil), port: 4999}
			w.p = newPair(ring, Config{Budget: w.a, Permit: w.permit})
			defer w.p.stop()
			w.b = w.p.b.cfg.Budget
			w.dial(t)
			pick := func() int { return rapid.IntRange(0, len(w.halfs)-1).Draw(t, "half") }
			t.Repeat(map[string]func(*rapid.T){
				"dial": w.dial,
				"write": func(t *rapid.T) {
					w.halfs[pick()].write(rapid.SampledFrom([]int{0, 1, 64, 5000, 40 << 10, 300 << 10}).Draw(t, "bytes"))
				},
				"read": func(t *rapid.T) {
					w.halfs[pick()].next(t, rapid.SampledFrom([]int{1, 64, 4096, 100 << 10}).Draw(t, "bytes"))
				},
				"read all": func(t *rapid.T) {
					h := w.halfs[pick()]
					for range 50 {
						if h.next(t, 64<<10) {
							break
						}
					}
				},
				"close": func(*rapid.T) { w.close(pick()) },
				"close write": func(*rapid.T) {
					h := w.halfs[pick()]
					_ = h.from.CloseWrite()
					h.shut = true
				},
				"close read": func(*rapid.T) {
					h := w.halfs[pick()]
					_ = h.to.CloseRead()
					h.deaf = true
				},
				"reset": func(t *rapid.T) {
					h := w.halfs[pick()]
					w.p.a.Reset(func(local, remote uint32, incoming bool) bool {
						return local == h.from.LocalPort() || local == h.to.LocalPort()
					}, ReasonRevoked)
					*h.reset = true
				},
				"review": func(t *rapid.T) {
					w.p.b.Review(func(_, _ uint32, _ bool, p Permit) (Permit, Reason) {
						next, _ := w.permit(0, 0, false)
						p.Release()
						return next, ReasonNone
					})
				},
				"settle": func(*rapid.T) { w.p.settle() },
				"pass":   func(*rapid.T) { time.Sleep(3 * time.Second) },
			})
			w.finish(t)
		})
	})
}

func (w *world) finish(t *rapid.T) {
	for i := range w.halfs {
		w.close(i)
	}
	time.Sleep(lingerTime + 2*time.Second)
	for _, s := range []*Session{w.p.a, w.p.b} {
		if st := s.Stats(); st.Open != 0 || st.Lies != 0 {
			t.Errorf("%d tuples left, %d lies: %v", st.Open, st.Lies, s.Conns())
		}
	}
	if n := w.held.Load(); n != 0 {
		t.Errorf("%d permits are held", n)
	}
	if w.a.Used() != 0 || w.b.Used() != 0 {
		t.Errorf("%d and %d bytes of budget left", w.a.Used(), w.b.Used())
	}
	for _, h := range w.halfs {
		if !h.settled() {
			t.Errorf("a Write is stuck")
		}
	}
}

// inBubble runs f in a bubble of its own. rapid stops a test by a panic, which
// must not come out in the bubble's goroutine.
func inBubble(t *testing.T, f func()) {
	var stopped any
	synctest.Test(t, func(*testing.T) {
		defer func() { stopped = recover() }()
		f()
	})
	switch {
	case stopped == nil:
	case fmt.Sprintf("%T", stopped) == "rapid.invalidData":
		panic(stopped) // from another line: rapid tells failures apart by theirs
	default:
		panic(stopped)
	}
}
