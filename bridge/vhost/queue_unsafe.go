package vhost

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// Go has no atomic access to 16 bits. The two halves of the words here, flags and an
// index, have one writer, so that they are loaded and stored together. Go's atomics
// are sequentially consistent: what is written before a store is seen by who loads
// it, and a load after a store stays after it, which is the barrier that the second
// look needs (see queue).

// word returns the 4-byte word at off of b.
func word(b []byte, off int) *uint32 {
	// SAFETY: slicing checks the bounds and touches no byte; avail and used lie at a
	// multiple of 4 (shape.layout), and so does every word of them.
	return (*uint32)(unsafe.Pointer(unsafe.SliceData(b[off : off+4])))
}

// The shared words are little-endian (VIRTIO_F_VERSION_1). On a little-endian machine
// the conversions compile to nothing.

func load(b []byte, off int) uint32 {
	var v [4]byte
	binary.NativeEndian.PutUint32(v[:], atomic.LoadUint32(word(b, off)))
	return binary.LittleEndian.Uint32(v[:])
}

func store(b []byte, off int, value uint32) {
	var v [4]byte
	binary.LittleEndian.PutUint32(v[:], value)
	atomic.StoreUint32(word(b, off), binary.NativeEndian.Uint32(v[:]))
}
