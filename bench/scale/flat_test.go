package scale

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// settle is more than the first connections of all frontends take.
const settle = 2 * time.Minute

// cost is what so many frontends have. Nothing in it depends on the machine.
type cost struct {
	Goroutines int // of all daemons
	// Of the backend:
	Ports, Pages int
	// Of all frontends:
	FrontPorts, FrontPages int
}

// costOf says what n frontends cost that have nothing to do.
func costOf(t *testing.T, n int) (c cost) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, clientsOfOneServer)
		synctest.Wait()
		threads, dom0 := runtime.NumGoroutine(), f.host.Domain(0)
		ports, pages := dom0.Ports(), dom0.Granted()
		f.add(n)
		time.Sleep(settle)
		synctest.Wait()
		c = cost{Goroutines: runtime.NumGoroutine() - threads, Ports: dom0.Ports() - ports, Pages: dom0.Granted() - pages}
		for _, front := range f.fronts {
			c.FrontPorts, c.FrontPages = c.FrontPorts+front.Ports(), c.FrontPages+front.Granted()
		}
	})
	return c
}

// times returns the cost of n times as many frontends, if each costs the same.
func (c cost) times(n int) cost {
	return cost{c.Goroutines * n, c.Ports * n, c.Pages * n, c.FrontPorts * n, c.FrontPages * n}
}

// What a frontend costs does not depend on how many others there are.
func TestTheCostOfAFrontendStaysFlat(t *testing.T) {
	few, many := 10, 500
	if testing.Short() {
		many = 100
	}
	each := costOf(t, few)
	if each.Pages == 0 || each.Ports == 0 {
		t.Fatalf("%d frontends without links: %+v", few, each)
	}
	got, want := costOf(t, many), each.times(many/few)
	if got.Goroutines > want.Goroutines || got.Ports > want.Ports || got.Pages > want.Pages ||
		got.FrontPorts > want.FrontPorts || got.FrontPages > want.FrontPages {
		t.Errorf("%d frontends cost %+v, and %d at the rate of %d %+v", many, got, many, few, want)
	}
	t.Logf("%d frontends: %+v", many, got)
}
