package ring

// speculation decides how many bytes a Fetch copies together with the header,
// before it knows whether they are there. A good guess saves the second ioctl of
// a wake-up; a bad one costs a memory copy, and for each page a segment.
//
// The guess starts at minGuess. It doubles whenever every byte of it turned out
// to be published, up to the 15 pages that fit beside the header in one
// hypercall, and is halved, down to minGuess, whenever less than half of it
// was: so an idle or polling reader pays for one short segment after a few
// empty fetches, and a stream is at full speed after seven. Between the two it
// stays. minGuess is a few frames of an interactive connection and mostly one
// segment.
//
// What the other side publishes can only move the guess within these bounds.
type speculation struct {
	guess int
}

const (
	minGuess = 512
	maxGuess = (maxSegments - 1) * pageSize
)

// learn adapts the guess to a Fetch that copied so many bytes, of which used
// were published. One that copied none, because the ring was full of unread
// bytes, teaches nothing.
func (s *speculation) learn(copied, used int) {
	switch {
	case copied == 0:
	case used == copied:
		s.guess = min(2*s.guess, maxGuess)
	case used < copied/2:
		s.guess = max(s.guess/2, minGuess)
	}
}
