package source

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// script is a watcher that reports what a test says, of a directory /p.
func script() *watcher {
	return &watcher{
		notify: &fsnotify.Watcher{Events: make(chan fsnotify.Event), Errors: make(chan error)},
		names:  map[string]map[string]bool{"/": {"p": true}, "/p": {"..data": true}},
		dir:    "/p",
	}
}

func TestWaitTakesASetWhenItHasSettled(t *testing.T) {
	const ms = time.Millisecond
	every := func(step, until time.Duration) (at []time.Duration) {
		for d := step; d <= until; d += step {
			at = append(at, d)
		}
		return at
	}
	for name, c := range map[string]struct {
		name  string
		at    []time.Duration
		retry time.Duration
		want  time.Duration
	}{
		"one change":                           {"/p/10-a.policy", []time.Duration{time.Hour}, 0, time.Hour + 100*ms},
		"a set that is being copied":           {"/p/10-a.policy", every(60*ms, 180*ms), 0, 280 * ms},
		"somebody who keeps writing":           {"/p/10-a.policy", every(60*ms, time.Hour), 0, 560 * ms},
		"the directory itself":                 {"/p", []time.Duration{ms}, 0, 101 * ms},
		"the directory, as fsnotify says it":   {"//p", []time.Duration{ms}, 0, 101 * ms},
		"a link that a file leads over":        {"/p/..data", []time.Duration{ms}, 0, 101 * ms},
		"an editor's file":                     {"/p/4913", every(ms, time.Minute), time.Hour, time.Hour},
		"a neighbour":                          {"/q", every(ms, time.Minute), time.Hour, time.Hour},
		"nothing, and nothing to look at":      {"", nil, time.Hour, time.Hour},
		"a change before it would look anyway": {"/p/10-a.policy", []time.Duration{ms}, time.Hour, 101 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, began := script(), time.Now()
				ctx, cancel := context.WithCancel(t.Context())
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					for _, at := range c.at {
						select {
						case <-time.After(at - time.Since(began)):
						case <-ctx.Done():
							return
						}
						select {
						case w.notify.Events <- fsnotify.Event{Name: c.name, Op: fsnotify.Create}:
						case <-ctx.Done():
							return
						}
					}
				}()
				if err := w.wait(ctx, c.retry); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took != c.want {
					t.Errorf("took %v, want %v", took, c.want)
				}
				cancel()
				<-gone
			})
		})
	}
}

func TestLostEventsCountAsAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := script()
		go func() { w.notify.Errors <- fsnotify.ErrEventOverflow }()
		if err := w.wait(t.Context(), 0); err != nil {
			t.Error(err)
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if err := script().wait(ctx, 0); !errors.Is(err, stop) {
		t.Error(err)
	}
}
