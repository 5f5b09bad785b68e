// Package journal keeps the last changes of a set, numbered by revision, for
// watchers that follow it. A watcher is no more than a revision that it asks
// from: there is no queue for one, so that a slow watcher holds up nobody and
// costs nothing; when what it asks for is gone, it is told so.
package journal

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
)

// ErrCompacted says that the changes after a revision are no longer kept, or
// that the revision is not one of this journal. The watcher reads the whole
// set again and goes on from its revision.
var ErrCompacted = errors.New("revision compacted")

// Log holds the last changes of type C. All methods may be called by any
// goroutine. Several may belong together (a change of the set and its Append):
// then the owner of the set holds its own lock over them.
type Log[C any] struct {
	mu       sync.Mutex
	revision uint64 // of the newest change
	oldest   uint64 // the lowest revision that After answers for
	ring     []C    // the change that made revision r is at r % len
	changed  chan struct{}
}

// New returns a journal that keeps the last limit changes (at least 1), its
// first revision being start.
func New[C any](limit int, start uint64) *Log[C] {
	return &Log[C]{revision: start, oldest: start, ring: make([]C, max(limit, 1)), changed: make(chan struct{})}
}

// RandomStart returns a revision to start from, so that a watcher that resumes
// after the journal was made anew finds its revision unknown instead of
// missing changes. It leaves room below 2^53, the end of the whole numbers that
// every JSON reader keeps. It is no secret, so it does not wait for the kernel to
// have gathered randomness, which takes a second or more after a domain's boot.
func RandomStart() uint64 { return uint64(rand.Uint32())<<20 + 1 }

// Append adds a change and returns its revision.
func (l *Log[C]) Append(c C) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revision++
	l.ring[l.revision%uint64(len(l.ring))] = c
	if kept := uint64(len(l.ring)); l.revision-l.oldest > kept {
		l.oldest = l.revision - kept
	}
	l.wake()
	return l.revision
}

// Reset forgets all changes under a new revision: every watcher has to read
// the whole set again.
func (l *Log[C]) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revision++
	l.oldest = l.revision
	clear(l.ring)
	l.wake()
}

// wake is called with mu held.
func (l *Log[C]) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Revision returns the newest revision.
func (l *Log[C]) Revision() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.revision
}

// Next returns changes made after a revision, oldest first and at most limit,
// with the revision of the last of them. It waits until there is one, or
// returns ctx's error. The error is ErrCompacted if changes after the revision
// were forgotten, or it was never reached.
func (l *Log[C]) Next(ctx context.Context, after uint64, limit int) ([]C, uint64, error) {
	for {
		changes, revision, changed, err := l.after(after, limit)
		if err != nil || len(changes) > 0 {
			return changes, revision, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, after, ctx.Err()
		}
	}
}

func (l *Log[C]) after(after uint64, limit int) (changes []C, revision uint64, changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if after < l.oldest || after > l.revision {
		return nil, after, nil, ErrCompacted
	}
	last := min(l.revision, after+uint64(max(limit, 1)))
	for r := after + 1; r <= last; r++ {
		changes = append(changes, l.ring[r%uint64(len(l.ring))])
	}
	return changes, last, l.changed, nil
}
