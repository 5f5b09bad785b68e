//go:build !race

package sim

import "sync/atomic"

// watched says that the race detector looks on.
const watched = false

func loadWord(p *uint64) uint64 { return atomic.LoadUint64(p) }

func loadByte(p *byte) byte { return *p }

func storeWord(p *uint64, v uint64) { atomic.StoreUint64(p, v) }

func storeByte(p *byte, v byte) { *p = v }
