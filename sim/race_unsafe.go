//go:build race

package sim

import (
	"runtime"
	"unsafe"
)

// watched says that the race detector looks on.
const watched = true

// loadWord reads one aligned word without the race detector's seeing the access,
// and then orders the caller after the last atomic store to that word: the race
// detector keeps an atomic store's ordering under the word's address, which is
// where RaceAcquire looks for it.
//
//go:norace
func loadWord(p *uint64) uint64 {
	v := *p
	// SAFETY: RaceAcquire uses the pointer as a key only. Two atomic 32-bit
	// words may share this one; each has its own key.
	runtime.RaceAcquire(unsafe.Pointer(p))
	runtime.RaceAcquire(unsafe.Add(unsafe.Pointer(p), 4))
	return v
}

//go:norace
func loadByte(p *byte) byte { return *p }

//go:norace
func storeWord(p *uint64, v uint64) { *p = v }

//go:norace
func storeByte(p *byte, v byte) { *p = v }
