package services

import (
	"context"
	"time"
)

// What a runner keeps of its service for others to read, under runner.mu, and
// what it tells the registry.

// enter begins the time in the tree, and reports false for a service that was
// removed before that.
func (r *runner) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.removed {
		return false
	}
	r.stopped = make(chan struct{})
	return true
}

func (r *runner) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.stopped)
	r.stopped = nil
}

// work returns a channel that is closed when the service has no work left, nil if it
// has none now.
func (r *runner) work() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopped
}

// begin starts a life, which end ends. It is what a restart asked for before it.
func (r *runner) begin(end context.CancelCauseFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.again:
	default:
	}
	r.end = end
	r.status.Starts++
	r.backoff.begin()
}

// serving says that the service takes connections, unless it was told to end.
func (r *runner) serving(ctx context.Context) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() == nil {
		r.setState(Serving)
	}
	return ctx.Err() == nil
}

// finish ends a life.
func (r *runner) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end = nil
	if r.hung != nil {
		r.hung.Stop()
		r.hung = nil
	}
	r.setState(NotServing)
}

// restart ends the life that goes on, or the pause.
func (r *runner) restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end != nil {
		r.setState(NotServing) // the life only tidies up from here on
		r.end(errRestart)
		if r.hung == nil {
			r.hung = time.AfterFunc(r.supervisor.timeout, func() { r.supervisor.doesNotStop(r.info.Name) })
		}
		return
	}
	select {
	case r.again <- struct{}{}:
	default:
	}
}

// remove ends what the runner says about the service: another may have its name
// from here on.
func (r *runner) remove() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setState(NotServing)
	r.removed = true
}

// setState tells the registry. r.mu is held.
func (r *runner) setState(s State) {
	if r.removed {
		return
	}
	if r.supervisor.registry.State(r.info.Name) != s {
		r.status.Since = time.Now()
	}
	if err := r.supervisor.registry.SetState(r.info.Name, s); err != nil {
		r.supervisor.log.Error("service state", "service", r.info.Name, "error", err)
	}
}

func (r *runner) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Err = err
}

func (r *runner) panicked() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Panics++
}

// report returns how the service has fared.
func (r *runner) report() Status {
	r.mu.Lock()
	s := r.status
	r.mu.Unlock()
	s.State = r.supervisor.registry.State(r.info.Name)
	if c, ok := r.service.(Counter); ok {
		var panics uint64
		s.Open, s.Served, s.Refused, panics = c.Counts()
		s.Panics += panics
	}
	if f, ok := r.service.(Faulter); ok {
		s.Fault = f.Faults()
	}
	return s
}
