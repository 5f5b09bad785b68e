package policy

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"xvsock/xen"
)

// Limits are those of one rule. 0 is none.
type Limits struct {
	Rule  uint64 // its id
	Conns uint32 // connections of one source domain open at once
	Rate  uint32 // new ones a second, and as many at once
}

// Meter holds each source domain to the limits of the rules that it connects
// under. Any number of goroutines may use it at once; it never waits, and no lock
// is taken under its own.
//
// It remembers a domain and a rule only while a connection is open or the rate is
// not yet made up for, which takes a second at most.
type Meter struct {
	mu      sync.Mutex
	gauges  map[account]*gauge
	sweepAt int // gauges at which those that have nothing to tell are removed
}

// account is what limits are for.
type account struct {
	source xen.DomID
	rule   uint64
}

// gauge is the state of one account.
type gauge struct {
	account
	limits  Limits
	open    uint32
	refused uint64
	bucket  *rate.Limiter // nil without a rate
}

// minSweep is how many gauges are not worth sweeping.
const minSweep = 64

// NewMeter returns a Meter that counts nothing yet.
func NewMeter() *Meter { return &Meter{gauges: make(map[account]*gauge), sweepAt: minSweep} }

// Permit is a connection that a Meter counts. A nil one is a connection without
// limits.
type Permit struct {
	m        *Meter
	g        *gauge
	released bool // guarded by m.mu
}

// Admit counts a new connection of source, and reports whether it is within the
// limits. The permit is nil, and the connection is admitted, if there are none.
func (m *Meter) Admit(source xen.DomID, l Limits) (p *Permit, admitted bool) {
	if l.Conns == 0 && l.Rate == 0 {
		return nil, true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	g := m.gauge(source, l, now)
	// A connection that is one too many takes no token.
	if l.Conns != 0 && g.open >= l.Conns || g.bucket != nil && !g.bucket.AllowN(now, 1) {
		g.refused++
		return nil, false
	}
	g.open++
	return &Permit{m: m, g: g}, true
}

// Release ends the connection. A second time, and of nil, it does nothing.
func (p *Permit) Release() {
	if p == nil {
		return
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.release(time.Now())
}

func (p *Permit) release(now time.Time) {
	if p.released {
		return
	}
	p.released = true
	p.g.open--
	if p.g.idle(now) {
		delete(p.m.gauges, p.g.account)
	}
}

// Move returns the permit under which an open connection goes on when another rule
// allows it than before, or its rule has other limits. It takes nothing from the
// rate, and refuses nothing: what is open stays open, and counts. p, which may be
// nil, is released unless it is what Move returns.
func (m *Meter) Move(p *Permit, source xen.DomID, l Limits) *Permit {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	var moved *Permit
	if l.Conns != 0 || l.Rate != 0 {
		g := m.gauge(source, l, now)
		if p != nil && p.g == g && !p.released {
			return p
		}
		g.open++
		moved = &Permit{m: m, g: g}
	}
	if p != nil {
		p.release(now)
	}
	return moved
}

// gauge returns the gauge for source and rule, with these limits. m.mu is held.
func (m *Meter) gauge(source xen.DomID, l Limits, now time.Time) *gauge {
	at := account{source, l.Rule}
	g := m.gauges[at]
	if g == nil {
		m.sweep(now)
		g = &gauge{account: at}
		m.gauges[at] = g
	}
	if g.limits != l {
		g.limit(l, now)
	}
	return g
}

// limit sets the limits.
func (g *gauge) limit(l Limits, now time.Time) {
	g.limits = l
	switch {
	case l.Rate == 0:
		g.bucket = nil
	case g.bucket == nil:
		g.bucket = rate.NewLimiter(rate.Limit(l.Rate), int(l.Rate))
	default:
		g.bucket.SetLimitAt(now, rate.Limit(l.Rate))
		g.bucket.SetBurstAt(now, int(l.Rate))
	}
}

// idle reports whether a new gauge would tell the same.
func (g *gauge) idle(now time.Time) bool {
	return g.open == 0 && (g.bucket == nil || g.bucket.TokensAt(now) >= float64(g.limits.Rate))
}

// sweep removes what is idle, once there are twice as many gauges as it left the
// last time: that is a bounded amount of work for each gauge made. m.mu is held.
func (m *Meter) sweep(now time.Time) {
	if len(m.gauges) < m.sweepAt {
		return
	}
	for at, g := range m.gauges {
		if g.idle(now) {
			delete(m.gauges, at)
		}
	}
	m.sweepAt = max(minSweep, 2*len(m.gauges))
}

// Usage is what a Meter counts for one source domain under one rule.
type Usage struct {
	Source  xen.DomID
	Limits  Limits
	Open    uint32
	Refused uint64 // since the last time that nothing was counted
}

// Usage lists what is counted now, by source and rule, for status.
func (m *Meter) Usage() []Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	var all []Usage
	for _, g := range m.gauges {
		if !g.idle(now) {
			all = append(all, Usage{Source: g.source, Limits: g.limits, Open: g.open, Refused: g.refused})
		}
	}
	slices.SortFunc(all, func(a, b Usage) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Limits.Rule, b.Limits.Rule))
	})
	return all
}
