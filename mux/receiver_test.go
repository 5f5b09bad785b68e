package mux

import (
	"bytes"
	"io"
	"testing"

	"pgregory.net/rapid"
)

func newReceiver(b *Budget, start uint32) *receiver {
	r := new(receiver)
	r.init(b, 5000)
	r.ready = true
	r.got, r.taken = start, start
	r.offer.Store(uint64(r.window)<<32 | uint64(start))
	r.stamp()
	return r
}

// The receiver is a FIFO of bytes that refuses what its window does not hold,
// and holds no more memory than it has booked, wherever its counters stand.
func TestReceiverIsAFIFO(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBudget(1<<20, nil)
		r := newReceiver(b, rapid.Uint32().Draw(t, "start"))
		var model bytes.Buffer
		var next byte
		window := r.window
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "fill") {
				p := make([]byte, rapid.IntRange(0, 20<<10).Draw(t, "bytes"))
				for i := range p {
					next++
					p[i] = next
				}
				at := rapid.IntRange(0, len(p)).Draw(t, "cut")
				fits := len(p) <= int(r.window)-model.Len()
				wrong := r.fill(p[:at], p[at:])
				if (wrong == "") != fits {
					t.Fatalf("%d bytes into %d of %d: %q", len(p), model.Len(), r.window, wrong)
				}
				if fits {
					model.Write(p)
				}
			} else if model.Len() > 0 {
				p := make([]byte, rapid.IntRange(1, 50<<10).Draw(t, "bytes"))
				n, update, _, err := r.read(p, nobody)
				want := model.Next(len(p))
				if err != nil || !bytes.Equal(p[:n], want) {
					t.Fatalf("read %d bytes, %v, want %d", n, err, len(want))
				}
				if update {
					r.stamp()
				}
			}
			if r.window < window || r.window > maxWindow {
				t.Fatalf("window went from %d to %d", window, r.window)
			}
			window = r.window
			if int64(len(r.buf)) > r.booked || r.booked != int64(r.window) || b.Used() != r.booked {
				t.Fatalf("%d bytes allocated, %d booked, %d used", len(r.buf), r.booked, b.Used())
			}
		}
		r.drop(true)
		if b.Used() != 0 {
			t.Fatalf("%d bytes used after the end", b.Used())
		}
	})
}

// A small window holds no more memory than it says (rule R7).
func TestASmallWindowAllocatesNoMoreThanItsBudget(t *testing.T) {
	b := NewBudget(2*leastWindow, nil)
	r := newReceiver(b, 0)
	if r.window != leastWindow {
		t.Fatalf("the window is of %d bytes", r.window)
	}
	fillWindow(r)
	if int64(len(r.buf)) != leastWindow || b.Used() != leastWindow {
		t.Errorf("%d bytes allocated, %d booked", len(r.buf), b.Used())
	}
}

// fillWindow fills as far as the window last told allows, as a fast sender does.
func fillWindow(r *receiver) {
	told := r.told.Load()
	n := uint32(told) + uint32(told>>32) - r.got
	r.fill(make([]byte, n), nil)
}

func TestWindowGrowsWithItsReader(t *testing.T) {
	for _, test := range []struct {
		name   string
		budget int64
		leave  int // bytes the reader never gets to
		want   uint32
	}{
		{"a reader that keeps up", 1 << 20, 0, maxWindow},
		{"a reader that stays behind", 1 << 20, 1000, startWindow},
		{"a reader that keeps up, and no budget", 100 << 10, 0, startWindow},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newReceiver(NewBudget(test.budget, nil), 0)
			p := make([]byte, 4096)
			for range 20 {
				fillWindow(r)
				for int(r.got-r.taken) > test.leave {
					p := p[:min(len(p), int(r.got-r.taken)-test.leave)]
					if _, update, _, _ := r.read(p, nobody); update {
						r.stamp()
					}
				}
			}
			if r.window != test.want {
				t.Errorf("window %d, want %d", r.window, test.want)
			}
		})
	}
}

// A window that was never near its end has slowed nobody.
func TestWindowStaysWithoutNeed(t *testing.T) {
	r := newReceiver(NewBudget(1<<20, nil), 0)
	for range 1000 {
		r.fill(make([]byte, 1000), nil)
		if _, update, _, _ := r.read(make([]byte, 1000), nobody); update {
			r.stamp()
		}
	}
	if r.window != startWindow {
		t.Errorf("window %d, want %d", r.window, startWindow)
	}
}

// Large frames are a stream's, whose window grows although its reader keeps up.
func TestWindowOfAStreamGrows(t *testing.T) {
	r := newReceiver(NewBudget(1<<20, nil), 0)
	for range 100 {
		r.fill(make([]byte, 16<<10), nil)
		if _, update, _, _ := r.read(make([]byte, 16<<10), nobody); update {
			r.stamp()
		}
	}
	if r.window != maxWindow {
		t.Errorf("window %d, want %d", r.window, maxWindow)
	}
}

// A sender without credit is told as soon as it is worth a frame, and a sender
// with plenty is left alone.
func TestUpdateIsDue(t *testing.T) {
	r := newReceiver(NewBudget(1<<20, nil), 0)
	read := func(n int) bool {
		_, update, _, _ := r.read(make([]byte, n), nobody)
		return update
	}
	r.fill(make([]byte, 30<<10), nil)
	if read(29 << 10) {
		t.Error("update for less than half, while the sender has credit")
	}
	r.fill(make([]byte, 3<<10), nil)
	if read(2<<10) || !read(2<<10) {
		t.Error("update for less than half, or none for half, while the sender has credit")
	}
	r.stamp()
	fillWindow(r)
	read(8<<10 - 1)
	if !read(1) {
		t.Error("no update although the sender has stopped and an eighth is free")
	}
	r.stamp()
	fillWindow(r)
	if read(8<<10 - 2) {
		t.Error("update for less than an eighth")
	}
	if !read(2) {
		t.Error("no update for an eighth")
	}
}

func TestReceiverEnds(t *testing.T) {
	b := NewBudget(1<<20, nil)
	r := newReceiver(b, 0)
	r.fill([]byte("abc"), nil)
	if r.finish() {
		t.Error("finish() says all was read")
	}
	if wrong := r.fill([]byte("x"), nil); wrong == "" {
		t.Error("data after the end was taken")
	}
	p := make([]byte, 2)
	if _, _, last, _ := r.read(p, nobody); last {
		t.Error("last before the last byte")
	}
	if n, _, last, _ := r.read(p, nobody); n != 1 || !last {
		t.Errorf("read %d, last %v, want the last byte", n, last)
	}
	if _, _, _, err := r.read(p, nobody); err != io.EOF {
		t.Errorf("read() = %v, want io.EOF", err)
	}
	r.settle()
	if b.Used() != 0 {
		t.Errorf("%d bytes used with nothing buffered", b.Used())
	}
}

// nobody is who serves in a receiver of its own.
func nobody() {}
