package mux

import (
	"maps"
	"math"
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

// fill begins connections of the local port until there is no room, and counts them by
// their windows.
func fill(b *Budget, local uint32) (total int, count map[int64]int) {
	count = map[int64]int{}
	for n := b.begin(local); n > 0; n = b.begin(local) {
		total++
		count[n]++
	}
	return total, count
}

// Connections that carry little are many, and those of a domain's services find room when
// all others do not.
func TestFirstWindowsGetSmaller(t *testing.T) {
	b := NewBudget(DefaultBudget, nil)
	total, count := fill(b, 5000)
	want := map[int64]int{64 << 10: 24, 4 << 10: 128, 1 << 10: 1984}
	if !maps.Equal(count, want) {
		t.Errorf("%d windows of %v bytes, want %v", total, count, want)
	}
	if b.grow(leastWindow) {
		t.Error("a window grows while connections find no room")
	}
	if n, _ := fill(b, 7); n != 64 || b.Used() != b.Limit() {
		t.Errorf("room for %d connections of well-known ports; %d bytes taken of %d", n, b.Used(), b.Limit())
	}
}

// A link carries 1000 connections, and some that are about to end, whatever those that
// came first have grown to.
func TestAThousandConnectionsFindRoom(t *testing.T) {
	const enough = 1040
	for _, c := range []struct {
		name  string
		early int // connections whose windows grow at once as far as they may
	}{
		{"none grows", 0},
		{"one takes all it can", 1},
		{"ten streams come first", 10},
		{"each grows when it comes", enough},
	} {
		b, n := NewBudget(DefaultBudget, nil), 0
		for range c.early {
			window := b.begin(5000)
			if window == 0 {
				break
			}
			for n++; window < maxWindow && b.grow(window); {
				window *= 2
			}
		}
		if rest, _ := fill(b, 5000); n+rest < enough {
			t.Errorf("%s: room for %d connections, want %d", c.name, n+rest, enough)
		}
	}
}

func TestWindowsGrowAsLongAsHalfIsFree(t *testing.T) {
	b := NewBudget(DefaultBudget, nil)
	for b.grow(maxWindow / 2) {
	}
	if b.Used() != DefaultBudget/2 {
		t.Errorf("%d bytes were taken by growing", b.Used())
	}
}

// Streams that come after 1000 idle connections have windows that keep a ring busy.
func TestAStreamBesideAThousandConnectionsGrows(t *testing.T) {
	const idle, streams = 1000, 10
	b := NewBudget(DefaultBudget, nil)
	for range idle {
		b.begin(5000)
	}
	for i := range streams {
		window := b.begin(5000)
		for b.grow(window) {
			window *= 2
		}
		if window != quickWindow {
			t.Errorf("stream %d has a window of %d bytes", i, window)
		}
	}
}
