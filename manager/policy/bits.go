package policy

import (
	"iter"
	mathbits "math/bits"
)

// bits is a set of rules, by their place in the Set: rule i is bit i%64 of word
// i/64.
type bits []uint64

// words is the length of the longest bits.
const words = (maxRules + 63) / 64

func newBits(rules int) bits { return make(bits, (rules+63)/64) }

func (b bits) set(i int) { b[i/64] |= 1 << (i % 64) }

func (b bits) clear(i int) { b[i/64] &^= 1 << (i % 64) }

// first returns the lowest member, -1 if there is none.
func (b bits) first() int {
	for i, word := range b {
		if word != 0 {
			return i*64 + mathbits.TrailingZeros64(word)
		}
	}
	return -1
}

// all are the members from the lowest.
func (b bits) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, word := range b {
			for ; word != 0; word &= word - 1 {
				if !yield(i*64 + mathbits.TrailingZeros64(word)) {
					return
				}
			}
		}
	}
}
