package ring

import "encoding/binary"

// ReadWords copies the 8-byte words of a shared page from off on into dst,
// each with one atomic load, as the race detector must see it.
func ReadWords(dst, page []byte, off int) {
	for i := 0; i < len(dst); i += 8 {
		binary.LittleEndian.PutUint64(dst[i:], loadLE64(word64(page, off+i)))
	}
}

// PublishOrder publishes a position through a pair whose two words are one,
// and returns what that word holds in the end: what was stored last.
func PublishOrder(n uint64) uint64 {
	var word uint64
	pair{value: &word, complement: &word}.publish(n)
	return loadLE64(&word)
}

// MinGuess and MaxGuess are the bounds of the speculation.
const (
	MinGuess = minGuess
	MaxGuess = maxGuess
)
