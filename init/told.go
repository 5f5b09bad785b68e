package pid1

import (
	"context"
	"sync"
)

// maxUntold bounds what waits to be told. It is more than a life has to say: a
// handful of states, and maxProblems from each of two steps.
const maxUntold = 64

// queue calls a Tell that may be slow, as one that goes through xenstore is: in
// order, one call at a time, on a goroutine that runs only while there is
// something to tell. Who adds never waits for it.
//
//	idle ──add──▶ telling ──nothing left──▶ idle
//
// A Tell that never returns costs what comes after it, and one goroutine.
type queue struct {
	tell   Tell
	failed func(error) // is told of a panic in tell

	mu     sync.Mutex
	untold []note
	busy   bool          // the telling goroutine runs
	idle   chan struct{} // closed when it ends; nil if it never ran
}

type note struct {
	kind TellKind
	text string
}

// add takes a line without waiting. When too many wait, the oldest is dropped:
// the last says how it is.
func (q *queue) add(kind TellKind, text string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.untold) == maxUntold {
		q.untold = q.untold[1:]
	}
	q.untold = append(q.untold, note{kind, text})
	if !q.busy {
		q.busy, q.idle = true, make(chan struct{})
		go q.run(q.idle)
	}
}

// run tells until nothing is left, and ends.
func (q *queue) run(idle chan struct{}) {
	defer close(idle)
	for n, ok := q.next(); ok; n, ok = q.next() {
		// A panic costs this line, and not the domain.
		if err := caught(context.Background(), func(context.Context) error {
			q.tell(n.kind, n.text)
			return nil
		}); err != nil {
			q.failed(err)
		}
	}
}

func (q *queue) next() (n note, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy = len(q.untold) > 0; !q.busy {
		return note{}, false
	}
	n, q.untold = q.untold[0], q.untold[1:]
	return n, true
}

// Told returns when all that was passed to Options.Tell before the call is
// through, or with ctx's error.
func (in *Init) Told(ctx context.Context) error { return in.told.flush(ctx) }

// flush returns when all that was added before the call is told, or with ctx's
// error.
func (q *queue) flush(ctx context.Context) error {
	q.mu.Lock()
	idle := q.idle
	q.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
