package mux

import "sync/atomic"

// DefaultBudget is the receive memory of one peer, in bytes.
const DefaultBudget = 4 << 20

// Budget counts bytes of receive memory against a limit, and against the limit
// of its parent too. What is counted is what was advertised to the other side
// as credit, whether it was used or not, so that no peer can be promised memory
// that is not there. A Budget is used by many goroutines.
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
func (b *Budget) TryTake(n int64) bool {
	for {
		used := b.used.Load()
		if n > b.limit-used {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			break
		}
	}
	if b.parent != nil && !b.parent.TryTake(n) {
		b.used.Add(-n)
		return false
	}
	return true
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
