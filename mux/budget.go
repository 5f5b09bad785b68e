package mux

import "sync/atomic"

// What begin and grow go by. With DefaultBudget there is room for more than 1000
// connections, whatever those before them have grown to.
const (
	smallWindow = startWindow / 16
	leastWindow = startWindow / 64
	quickWindow = startWindow / 8 // a window below it grows while a quarter is free

	wellKnown = 1024 // the first port that is not
	keptBack  = 16 * smallWindow
)

// DefaultBudget is the receive memory of one peer, in bytes.
const DefaultBudget = 4 << 20

// Budget counts bytes of receive memory against a limit, and against the limit
// of its parent too. What is counted is what was advertised to the other side
// as credit, whether it was used or not, so that no peer can be promised memory
// that is not there. A Budget is used by many goroutines.
//
// No peer can use up the parent. Whoever holds more than the first window of one
// connection must leave as much free as it holds, and an eighth of the parent at
// least, so that each gets half of what those before it have left, and that
// eighth is for everybody's first connection (rule R7).
type Budget struct {
	limit  int64
	used   atomic.Int64
	parent *Budget
}

// NewBudget returns a budget of limit bytes under parent, which may be nil.
func NewBudget(limit int64, parent *Budget) *Budget {
	return &Budget{limit: limit, parent: parent}
}

// TryTake takes n bytes, or nothing and returns false.
func (b *Budget) TryTake(n int64) bool { return b.take(n, b.limit) }

// take is TryTake up to limit.
func (b *Budget) take(n, limit int64) bool {
	var used int64
	for {
		used = b.used.Load()
		if n > limit-used {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			break
		}
	}
	if b.parent != nil && !b.parent.take(n, b.parent.ceiling(used+n)) {
		b.used.Add(-n)
		return false
	}
	return true
}

// begin takes the first window of a connection, which is the smaller the more of b is
// in use, and less as well where a parent has no more. So connections that carry little
// are many, and one that carries more makes its window grow. It returns 0 if there is
// nothing.
//
// The end of b is for connections of ports below wellKnown, so that others cannot keep
// the domain's services, and those of its root, from working.
func (b *Budget) begin(local uint32) int64 {
	limit := b.limit
	if local >= wellKnown {
		limit -= min(keptBack, limit/4)
	}
	for window := b.first(); window >= leastWindow; window /= 4 {
		if b.take(window, limit) {
			return window
		}
	}
	return 0
}

// first is the window that a connection is to begin with.
func (b *Budget) first() int64 {
	switch used := b.Used(); {
	case used < b.limit/8*3:
		return startWindow
	case used < b.limit/2:
		return smallWindow
	}
	return leastWindow
}

// grow doubles a window: it takes as much again for a connection, if half of b stays
// free for others. A window that slows any stream down may have of the next quarter
// too: what is left then is for first windows.
func (b *Budget) grow(window int64) bool {
	limit := b.limit / 2
	if window < quickWindow {
		limit = b.limit / 4 * 3
	}
	return b.take(window, limit)
}

// ceiling is how far b may be used up by a child that then holds so much.
func (b *Budget) ceiling(held int64) int64 {
	if held <= startWindow {
		return b.limit
	}
	return b.limit - max(held, b.limit/8)
}

// Give returns n bytes that were taken.
func (b *Budget) Give(n int64) {
	b.used.Add(-n)
	if b.parent != nil {
		b.parent.Give(n)
	}
}

// Used returns the bytes taken and not given back.
func (b *Budget) Used() int64 { return b.used.Load() }

// Limit returns the bytes that may be taken.
func (b *Budget) Limit() int64 { return b.limit }
