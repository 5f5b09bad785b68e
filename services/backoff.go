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
// backoffForget. One goroutine at a time uses it.
type backoff struct {
	next    time.Duration
	started time.Time // last start of the service
}

// begin notes that the service starts.
func (b *backoff) begin() { b.started = time.Now() }

// forget makes the next failure the first.
func (b *backoff) forget() { b.next = 0 }

// pause returns the next pause, up to a quarter of it by chance, so that
// services that failed together do not come back together. Longest reports
// whether it will grow no more.
func (b *backoff) pause() (d time.Duration, longest bool) {
	if time.Since(b.started) >= backoffForget {
		b.next = 0
	}
	d = max(b.next, backoffMin)
	b.next = min(2*d, backoffMax)
	return d - rand.N(d/4), d == backoffMax
}
