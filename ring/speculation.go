package ring

// speculation decides how many bytes a Fetch copies together with the header,
// before it knows whether they are there. A good guess saves the second ioctl of
// a wake-up; a bad one costs a memory copy, and for each page a segment.
//
// The guess starts at minGuess. It doubles whenever more turned out to be published
// than that, up to the 15 pages that fit beside the header in one hypercall. Else it
// comes down to what was used of the last two, but by no more than half: an empty or
// short fetch between two of a stream is no reason to begin again, while an idle or
// polling reader pays for one short segment after a few of them. minGuess is a few
// frames of an interactive connection and mostly one segment.
//
// What the other side publishes can only move the guess within these bounds.
type speculation struct {
	guess int
	last  int // what the last Fetch alone made of it
}

const (
	minGuess = 512
	maxGuess = (maxSegments - 1) * pageSize
)

// learn adapts the guess to a Fetch that copied so many bytes, of which used were
// published; more says that others were published behind them. One that copied none,
// because the ring was full of unread bytes, teaches nothing.
func (s *speculation) learn(copied, used int, more bool) {
	switch {
	case copied == 0:
	case more:
		s.guess = min(2*s.guess, maxGuess)
		s.last = s.guess
	default:
		round := (used + minGuess - 1) / minGuess * minGuess
		next := max(min(round, s.guess), s.guess/2, minGuess)
		s.guess, s.last = max(next, min(s.last, s.guess)), next
	}
}
