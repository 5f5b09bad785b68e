package sim

import (
	"encoding/binary"
	"unsafe"
)

// This file and its two neighbours (race_unsafe.go, norace.go) are how
// the simulated hypervisor touches memory that belongs to a domain.
//
// The hypervisor reads a page while its owner writes it. That is no bug of
// either side: the protocol on top says which bytes mean something. So the read
// of foreign memory is hidden from the race detector, and only what the real
// machine promises is told to it: whoever read a word that was stored
// atomically is ordered after that store (acquire). Everything else stays
// instrumented: the local side of a copy, a copy into a foreign page, and all
// that the domains do with their own and with mapped memory. A reader that looks
// at bytes which the protocol has not published to it is therefore reported.

// readForeign copies src, a foreign page's bytes, to dst, ascending and in whole
// aligned words where there are any, as Xen's memcpy does on x86 ("rep movsq").
// The two have the same length.
//
// Bytes behind the longest header are data, or were stored before a word in it that
// says so: in which order those are read is nobody's business, so long as it is after
// that word, and a loop of words would cost a stream more than all else that it does.
// The race detector still gets them word by word.
func readForeign(dst, src []byte) {
	words := len(src)
	if !watched {
		words = min(words, longestHeader)
	}
	i := 0
	for ; i < words && address(src[i:])%8 != 0; i++ {
		dst[i] = loadByte(&src[i])
	}
	for ; i+8 <= words; i += 8 {
		binary.NativeEndian.PutUint64(dst[i:], loadWord(word(src[i:])))
	}
	if words < len(src) {
		copy(dst[i:], src[i:])
		return
	}
	for ; i < len(src); i++ {
		dst[i] = loadByte(&src[i])
	}
}

// longestHeader is more bytes than any part of a header page that changes.
const longestHeader = 256

// writeHidden stores the bytes of src over dst where they differ, out of the
// race detector's sight, whole words where dst is aligned.
func writeHidden(dst, src []byte) {
	i := 0
	for ; i < len(dst) && address(dst[i:])%8 != 0; i++ {
		hiddenByte(dst, src, i)
	}
	for ; i+8 <= len(dst); i += 8 {
		if v := binary.NativeEndian.Uint64(src[i:]); v != loadWord(word(dst[i:])) {
			storeWord(word(dst[i:]), v)
		}
	}
	for ; i < len(dst); i++ {
		hiddenByte(dst, src, i)
	}
}

func hiddenByte(dst, src []byte, i int) {
	if src[i] != loadByte(&dst[i]) {
		storeByte(&dst[i], src[i])
	}
}

// address is where b begins; it decides alignment and page crossings, and is
// never turned back into a pointer.
func address(b []byte) uintptr {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}

// word is the first word of b.
//
// SAFETY: callers pass at least 8 bytes that begin at a multiple of 8.
func word(b []byte) *uint64 {
	return (*uint64)(unsafe.Pointer(unsafe.SliceData(b)))
}
