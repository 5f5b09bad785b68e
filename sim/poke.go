package sim

// Peek returns a private copy of shared memory (pages, a mapping, Domain.Page)
// as it is now, without the race detector's minding who else uses it.
func Peek(shared []byte) []byte {
	private := make([]byte, len(shared))
	readForeign(private, shared)
	return private
}

// Poke changes shared memory behind the protocol's back, as a hostile domain
// does: f gets a private copy, and what it changes there is then stored, whole
// words at a time, out of the race detector's sight. f must not keep the copy.
func Poke(shared []byte, f func(private []byte)) {
	private := Peek(shared)
	f(private)
	writeHidden(shared, private)
}
