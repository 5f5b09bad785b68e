//go:build race

package sim_test

import (
	"sync/atomic"
	"unsafe"
)

// wordOf is the first word of a granted page, as package ring uses it.
//
// SAFETY: a page begins at a multiple of 8.
func wordOf(mem []byte) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(mem)))
}
