package link

import "time"

// How long to wait before a link is made again.
const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	brokenPause  = 30 * time.Second // rule R5
	stable       = 10 * time.Second // a link that lived so long starts the backoff anew
)

// pace spaces the attempts to make one link.
type pace struct{ backoff time.Duration }

// next returns how long to wait after an attempt that ended with err and whose
// link, if one was formed, lived for so long.
func (p *pace) next(err error, lived time.Duration) time.Duration {
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
