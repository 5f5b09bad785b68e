package ring_test

import (
	"fmt"
	"testing"
)

// BenchmarkFrame moves frames one by one through a mapped ring on the heap, in
// one goroutine: reserve, write, commit, fetch, peek, read, discard, and a
// fetch by the sender when its ring is full.
func BenchmarkFrame(b *testing.B) {
	for _, n := range []int{64, 16 << 10} {
		b.Run(fmt.Sprintf("%d bytes", n), func(b *testing.B) {
			from, to := newPair(b, mapMode, 1<<16)
			frame, sink := pattern(0, n), make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				p, q := from.Reserve(n)
				if p == nil {
					if _, err := from.Fetch(); err != nil {
						b.Fatal(err)
					}
					p, q = from.Reserve(n)
				}
				copy(q, frame[copy(p, frame):])
				if err := from.Commit(n); err != nil {
					b.Fatal(err)
				}
				if _, err := to.Fetch(); err != nil {
					b.Fatal(err)
				}
				p, q, err := to.Peek(n)
				if err != nil {
					b.Fatal(err)
				}
				copy(sink[copy(sink, p):], q)
				to.Discard(n)
			}
		})
	}
}
