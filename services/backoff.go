package services

import (
	"math/rand/v2"
	"time"
)

const (
	backoffMin    = 200 * time.Millisecond
	backoffMax    = 5 * time.Second
	backoffForget = 30 * time.Second // of health, after which a failure counts as the first
)

// backoff is the pause before a service is started again: it doubles from
// backoffMin to backoffMax, and starts over once the service has been well for
// backoffForget. It implements suture.Jitter, so that suture asks it for each
// pause. One goroutine at a time uses it.
type backoff struct {
	next    time.Duration
	started time.Time // last start of the service
}

// begin notes that the service starts.
func (b *backoff) begin() { b.started = time.Now() }

// Jitter returns the next pause, up to a quarter of it by chance, so that
// services that failed together do not come back together.
func (b *backoff) Jitter(time.Duration) time.Duration {
	if time.Since(b.started) >= backoffForget {
		b.next = 0
	}
	d := max(b.next, backoffMin)
	b.next = min(2*d, backoffMax)
	return d - rand.N(d/4)
}
