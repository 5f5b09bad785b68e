package link

import "time"

// How long to wait before a link is made again.
const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	brokenPause  = 30 * time.Second // rule R5
	stable       = 10 * time.Second // a link that lived so long starts the backoff anew
)

// Pace spaces the attempts to make one link. The zero Pace is at the beginning;
// it is used by one goroutine at a time.
type Pace struct{ backoff time.Duration }

// Next returns how long to wait after an attempt that ended with err and whose
// link, if one was formed, lived for so long.
func (p *Pace) Next(err error, lived time.Duration) time.Duration {
	if CauseOf(err) == Broken {
		p.backoff = 0
		return brokenPause
	}
	if lived >= stable || p.backoff == 0 {
		p.backoff = firstBackoff
	} else {
		p.backoff = min(2*p.backoff, maxBackoff)
	}
	return p.backoff
}
