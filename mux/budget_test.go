package mux

import (
	"math"
	"slices"
	"sync"
	"testing"
)

func TestBudget(t *testing.T) {
	daemon := NewBudget(100, nil)
	one, two := NewBudget(80, daemon), NewBudget(80, daemon)
	for _, step := range []struct {
		name string
		b    *Budget
		n    int64
		want bool
	}{
		{"more than its own limit", one, 81, false},
		{"up to its own limit", one, 80, true},
		{"more than its parent has left", two, 21, false},
		{"what its parent has left", two, 20, true},
		{"more than can be counted", two, math.MaxInt64, false},
		{"nothing at all", two, 0, true},
	} {
		if got := step.b.TryTake(step.n); got != step.want {
			t.Errorf("%s: TryTake(%d) = %v", step.name, step.n, got)
		}
	}
	if one.Used() != 80 || two.Used() != 20 || daemon.Used() != 100 {
		t.Errorf("used %d and %d of %d", one.Used(), two.Used(), daemon.Used())
	}
	one.Give(80)
	two.Give(20)
	if daemon.Used() != 0 || daemon.Limit() != 100 {
		t.Errorf("%d of %d used at the end", daemon.Used(), daemon.Limit())
	}
}

// However much some peers take, there is something left for the next one.
func TestNoPeerUsesUpTheParent(t *testing.T) {
	const w = startWindow
	for _, c := range []struct {
		name   string
		parent int64
		want   []int // windows that peers get which take all they can, one after the other
	}{
		{"less for each that comes, and a window for the last", 128 * w, []int{64, 32, 16, 1, 1, 1}},
		{"an eighth is left for first windows", 16 * w, []int{8, 4, 2, 1, 1, 0}},
		{"a parent of one window", w, []int{1, 0}},
	} {
		daemon := NewBudget(c.parent, nil)
		for i, want := range c.want {
			b, got := NewBudget(1<<40, daemon), 0
			for b.TryTake(w) {
				got++
			}
			if got != want || b.Used() != int64(got)*w {
				t.Errorf("%s: peer %d gets %d windows, want %d; %d bytes are booked", c.name, i+1, got, want, b.Used())
			}
		}
	}
}

// Peers that take at once never have more than their parent.
func TestBudgetIsShared(t *testing.T) {
	daemon := NewBudget(1000, nil)
	var wg sync.WaitGroup
	for range 8 {
		b := NewBudget(500, daemon)
		wg.Go(func() {
			for i := range 2000 {
				n := int64(i % 300)
				if b.TryTake(n) {
					if used := daemon.Used(); used > 1000+8*300 {
						t.Errorf("%d used", used)
					}
					b.Give(n)
				}
			}
		})
	}
	wg.Wait()
	if daemon.Used() != 0 {
		t.Errorf("%d used at the end", daemon.Used())
	}
}

// Connections that carry little are many, and those of a domain's services find room when
// all others do not.
func TestFirstWindowsGetSmaller(t *testing.T) {
	b := NewBudget(4<<20, nil)
	var sizes []int64
	count := map[int64]int{}
	for {
		n := b.begin(5000)
		if n == 0 {
			break
		}
		if count[n]++; count[n] == 1 {
			sizes = append(sizes, n)
		}
	}
	if !slices.Equal(sizes, []int64{64 << 10, 16 << 10, 4 << 10}) || count[64<<10] != 32 || count[16<<10] != 64 || count[4<<10] != 240 {
		t.Errorf("windows of %v bytes, %v", sizes, count)
	}
	if b.grow(1) {
		t.Error("a window grows while connections find no room")
	}
	for i := range 16 {
		if b.begin(7) == 0 {
			t.Fatalf("no room for connection %d of a well-known port", i)
		}
	}
	if b.begin(7) != 0 {
		t.Error("more was given than there is")
	}
}

func TestWindowsGrowAsLongAsHalfIsFree(t *testing.T) {
	b := NewBudget(4<<20, nil)
	for b.grow(256 << 10) {
	}
	if b.Used() != 2<<20 || b.begin(5000) == 0 {
		t.Errorf("%d bytes were taken by growing", b.Used())
	}
}
