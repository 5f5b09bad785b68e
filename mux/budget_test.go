package mux

import (
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
