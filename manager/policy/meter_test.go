package policy_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/manager/policy"
	"xvsock/xen"
)

func TestMeterBoundsOpenConnections(t *testing.T) {
	m, l := policy.NewMeter(), policy.Limits{Rule: 1, Conns: 2}
	first, ok := m.Admit(1, l)
	if _, again := m.Admit(1, l); first == nil || !ok || !again {
		t.Fatal("connections within the limit are refused")
	}
	if p, ok := m.Admit(1, l); p != nil || ok {
		t.Error("the third of two connections is admitted")
	}
	if _, ok := m.Admit(2, l); !ok {
		t.Error("another domain pays for the first one's connections")
	}
	if _, ok := m.Admit(1, policy.Limits{Rule: 2, Conns: 2}); !ok {
		t.Error("another rule's connections count")
	}
	first.Release()
	first.Release()
	if _, ok := m.Admit(1, l); !ok {
		t.Error("a connection that has ended counts")
	}
	if _, ok := m.Admit(1, l); ok {
		t.Error("a connection that was released twice counts twice")
	}
	if u := m.Usage(); len(u) != 3 || u[0] != (policy.Usage{Source: 1, Limits: l, Open: 2, Refused: 2}) || u[1].Limits.Rule != 2 || u[2].Source != 2 {
		t.Errorf("Usage = %+v", u)
	}
}

func TestMeterWithoutLimitsCountsNothing(t *testing.T) {
	m := policy.NewMeter()
	p, ok := m.Admit(1, policy.Limits{Rule: 1})
	if p != nil || !ok || policy.Gauges(m) != 0 {
		t.Errorf("%v, %v", p, ok)
	}
	p.Release()
}

func TestMeterBoundsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := policy.NewMeter(), policy.Limits{Rule: 1, Rate: 10, Conns: 15}
		admit := func(n int) (admitted int, open []*policy.Permit) {
			for range n {
				if p, ok := m.Admit(1, l); ok {
					admitted++
					open = append(open, p)
				}
			}
			return admitted, open
		}
		n, open := admit(30)
		if n != 10 {
			t.Errorf("%d at once; want 10", n)
		}
		for _, p := range open {
			p.Release()
		}
		if n, _ := admit(1); n != 0 {
			t.Error("ended connections give their rate back")
		}
		time.Sleep(500 * time.Millisecond)
		if n, _ := admit(30); n != 5 {
			t.Errorf("%d after half a second; want 5", n)
		}
		time.Sleep(time.Hour)
		if n, open = admit(30); n != 10 {
			t.Errorf("%d after an hour; want 10", n)
		}
		time.Sleep(time.Second)
		admit(1000) // one too many open: takes nothing from the rate
		for _, p := range open {
			p.Release()
		}
		if n, _ := admit(30); n != 10 {
			t.Errorf("%d after many that were refused for another reason; want 10", n)
		}
	})
}

func TestMeterForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := policy.NewMeter()
		p, _ := m.Admit(1, policy.Limits{Rule: 1, Conns: 1})
		p.Release()
		if n := policy.Gauges(m); n != 0 {
			t.Errorf("%d accounts of an ended connection", n)
		}
		for round := range 100 {
			for source := range xen.DomID(100) {
				p, ok := m.Admit(source, policy.Limits{Rule: uint64(round), Rate: 2})
				if !ok {
					t.Fatal("refused")
				}
				p.Release()
			}
			time.Sleep(time.Second)
		}
		if n := policy.Gauges(m); n > 300 {
			t.Errorf("%d accounts are remembered, of 100 that are of this second", n)
		}
		if u := m.Usage(); len(u) != 0 {
			t.Errorf("Usage = %+v", u)
		}
	})
}

func TestMeterKeepsOpenConnectionsAndSpentRatesInMind(t *testing.T) {
	m, l := policy.NewMeter(), policy.Limits{Rule: 1, Conns: 1}
	held, _ := m.Admit(1, l)
	for rule := range uint64(1000) { // makes it sweep
		p, _ := m.Admit(2, policy.Limits{Rule: rule, Rate: 1, Conns: 1})
		p.Release()
	}
	if _, ok := m.Admit(1, l); ok {
		t.Error("an open connection was forgotten")
	}
	held.Release()
	if _, ok := m.Admit(1, l); !ok {
		t.Error("an ended connection counts")
	}
}

func TestMeterMovesOpenConnections(t *testing.T) {
	m := policy.NewMeter()
	one, two, none := policy.Limits{Rule: 1, Conns: 1}, policy.Limits{Rule: 2, Conns: 1, Rate: 1}, policy.Limits{Rule: 3}
	p, _ := m.Admit(1, one)
	if same := m.Move(p, 1, one); same != p {
		t.Error("a permit that stays under its rule is another")
	}
	if _, ok := m.Admit(1, one); ok {
		t.Error("what stayed under its rule does not count")
	}
	blocker, _ := m.Admit(1, two)
	moved := m.Move(p, 1, two)
	if moved == nil || moved == p {
		t.Fatalf("moved under another rule: %v", moved)
	}
	p.Release()
	if q, ok := m.Admit(1, one); !ok {
		t.Error("the rule that a connection left counts it")
	} else {
		q.Release()
	}
	blocker.Release()
	if u := m.Usage(); len(u) != 1 || u[0].Open != 1 || u[0].Limits != two {
		t.Errorf("Usage = %+v; want the moved connection alone", u)
	}
	if free := m.Move(moved, 1, none); free != nil {
		t.Errorf("moved to a rule without limits: %v", free)
	}
	from := m.Move(nil, 1, one)
	if _, ok := m.Admit(1, one); from == nil || ok {
		t.Error("a connection that moves from a rule without limits does not count")
	}
	from.Release()
	if m.Move(nil, 1, none) != nil {
		t.Error("no permit became one")
	}
	if u := m.Usage(); len(u) != 1 || u[0].Open != 0 {
		t.Errorf("Usage = %+v; want the spent rate of rule 2", u)
	}
}

func TestMeterTakesOtherLimitsOfTheSameRule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := policy.NewMeter()
		p, _ := m.Admit(1, policy.Limits{Rule: 1, Conns: 1})
		if m.Move(p, 1, policy.Limits{Rule: 1, Conns: 2, Rate: 1}) != p {
			t.Error("the same rule is another permit")
		}
		if _, ok := m.Admit(1, policy.Limits{Rule: 1, Conns: 2, Rate: 1}); !ok {
			t.Error("a raised limit does not hold")
		}
		if _, ok := m.Admit(1, policy.Limits{Rule: 1, Conns: 9, Rate: 1}); ok {
			t.Error("a new rate does not hold")
		}
		m.Admit(1, policy.Limits{Rule: 1, Conns: 9, Rate: 100})
		time.Sleep(time.Second)
		for range 7 {
			if _, ok := m.Admit(1, policy.Limits{Rule: 1, Conns: 9, Rate: 100}); !ok {
				t.Error("a raised rate does not hold")
			}
		}
	})
}

func TestMeterUnderManyAtOnce(t *testing.T) {
	const conns = 5
	m := policy.NewMeter()
	var open [4]atomic.Int32
	var busy sync.WaitGroup
	for i := range 8 {
		busy.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(i)))
			for range 5000 {
				source := r.IntN(len(open))
				p, ok := m.Admit(xen.DomID(source), policy.Limits{Rule: 1, Conns: conns})
				if !ok {
					continue
				}
				if n := open[source].Add(1); n > conns {
					t.Errorf("%d connections of domain %d are open", n, source)
				}
				if r.IntN(3) == 0 {
					m.Usage()
				}
				open[source].Add(-1)
				if r.IntN(2) == 0 {
					p = m.Move(p, xen.DomID(source), policy.Limits{Rule: 2, Conns: conns})
				}
				busy.Go(p.Release)
				p.Release()
			}
		})
	}
	busy.Wait()
	if n := policy.Gauges(m); n != 0 {
		t.Errorf("%d accounts are left", n)
	}
}

func TestARefusalAllocatesNothing(t *testing.T) {
	m := policy.NewMeter()
	conns, rate := policy.Limits{Rule: 1, Conns: 1}, policy.Limits{Rule: 2, Rate: 1}
	m.Admit(1, conns)
	m.Admit(1, rate)
	if n := testing.AllocsPerRun(100, func() { m.Admit(1, conns); m.Admit(1, rate) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAdmitRefused(b *testing.B) {
	m, l := policy.NewMeter(), policy.Limits{Rule: 1, Conns: 1}
	m.Admit(1, l)
	b.ReportAllocs()
	for b.Loop() {
		m.Admit(1, l)
	}
}
