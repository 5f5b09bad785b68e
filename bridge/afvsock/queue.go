package afvsock

import (
	"slices"
	"sync"
	"time"

	"xvsock/bridge/vhost"
)

const (
	// maxReplies bounds the RSTs that wait for room: a revocation ends all
	// connections of a link at once.
	maxReplies = 1024
	// maxWaiters bounds the sessions that wait for room. A domain has one link, but
	// for those that have just ended; this domain has two ends of one to itself.
	maxWaiters = 8
	// stallTime is how long the kernel may take nothing while something waits.
	stallTime = 2 * time.Second
)

// outcome is what became of a packet for the kernel.
type outcome uint8

const (
	taken   outcome = iota
	noRoom          // the session is woken when there is some
	crowded         // and too many sessions wait already
	closed
)

// queue is the way to the kernel. Packets go in the order in which they come: what is
// not taken stays with its session, and RSTs, which nobody keeps, in replies; while
// any of those wait, nothing passes them.
type queue struct {
	watch chan struct{} // capacity 1: begin to watch for a stall

	mu       sync.Mutex
	dev      Device
	shut     bool
	replies  []vhost.Header // the first gone have been sent
	gone     int
	waiters  []session
	since    time.Time // when the kernel took nothing first; zero: nothing waits
	watching bool      // watch was told, and patience has not said that nothing waits
}

func (q *queue) init(dev Device) {
	q.dev, q.watch = dev, make(chan struct{}, 1)
}

// send gives the kernel a packet of a session, to be told with those that follow. It does
// not wait.
func (q *queue) send(from session, h vhost.Header, a, b []byte) outcome {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.shut:
		return closed
	case q.flush() && q.give(h, a, b):
		return taken
	case slices.Contains(q.waiters, from):
		return noRoom
	case len(q.waiters) == maxWaiters:
		return crowded
	}
	q.waiters = append(q.waiters, from)
	return noRoom
}

// reply gives the kernel an RST, now or when there is room. It returns false if too
// many wait. It does not wait.
func (q *queue) reply(h vhost.Header) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.shut:
		return true // the sockets hear of it by the end of the instance
	case q.flush() && q.give(h, nil, nil):
		q.dev.Flush()
		return true
	case len(q.replies)-q.gone == maxReplies:
		return false
	}
	if q.gone > 0 && len(q.replies) == cap(q.replies) {
		q.replies = slices.Delete(q.replies, 0, q.gone)
		q.gone = 0
	}
	q.replies = append(q.replies, h)
	return true
}

// tell has the kernel look at what it was given.
func (q *queue) tell() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.shut {
		q.dev.Flush()
	}
}

// room is called when there is room again. It returns who is to be woken.
func (q *queue) room() []session {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.shut {
		return nil
	}
	all := q.flush()
	q.dev.Flush()
	if !all {
		return nil
	}
	woken := q.waiters
	q.waiters, q.since = nil, time.Time{}
	return woken
}

// flush gives the kernel the replies that wait, and reports that none is left. The
// caller holds mu.
func (q *queue) flush() bool {
	for ; q.gone < len(q.replies); q.gone++ {
		if !q.give(q.replies[q.gone], nil, nil) {
			return false
		}
	}
	q.replies, q.gone = q.replies[:0], 0
	return true
}

// give gives the kernel a packet, if it has room. The caller holds mu.
func (q *queue) give(h vhost.Header, a, b []byte) bool {
	if q.dev.Send(h, a, b) {
		q.since = time.Time{}
		return true
	}
	if q.since.IsZero() {
		q.since = time.Now()
	}
	if !q.watching {
		q.watching = true
		q.watch <- struct{}{} // empty: watching was false
	}
	return false
}

// patience returns how long the kernel may still take nothing; false: nothing waits,
// and watch tells when something does.
func (q *queue) patience(now time.Time) (left time.Duration, waits bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.since.IsZero() {
		q.watching = false
		return 0, false
	}
	return stallTime - now.Sub(q.since), true
}

// empty reports that the kernel has been given everything.
func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.gone == len(q.replies) && len(q.waiters) == 0
}

// close drops what waits. The device is not used after it returns. Who waits is
// woken, and finds that there is nobody to deliver to.
func (q *queue) close() []session {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shut = true
	woken := q.waiters
	q.waiters, q.replies, q.gone, q.since = nil, nil, 0, time.Time{}
	return woken
}
