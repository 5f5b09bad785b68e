package services

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/thejerf/suture/v4"
)

// errReturned stands for a service that returned nil before it was asked to
// stop.
var errReturned = errors.New("returned without being asked to stop")

// runner is one service in the tree of a supervisor: it makes the listener,
// runs the service and lets its health follow.
type runner struct {
	supervisor *Supervisor
	info       Info
	service    Service
	token      suture.ServiceToken
	backoff    backoff // used by suture's goroutine and by Serve, never at once

	starts  atomic.Uint64
	panics  atomic.Uint64
	running atomic.Bool

	mu      sync.Mutex
	err     error
	removed bool
}

// String is how suture names the service.
func (r *runner) String() string { return r.info.Name }

// Serve is one life of the service. suture calls it again after it returns or
// panics.
func (r *runner) Serve(ctx context.Context) error {
	if r.isRemoved() { // before the supervisor ran
		return suture.ErrDoNotRestart
	}
	r.running.Store(true)
	defer r.running.Store(false)
	r.backoff.begin()
	r.starts.Add(1)
	err := r.serve(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = errReturned
	}
	r.fail(err)
	if errors.Is(err, ErrFinished) {
		r.supervisor.log.Info("service finished", "service", r.info.Name)
		return suture.ErrDoNotRestart
	}
	// As text only: an error of the service must not be one of suture's orders.
	return errors.New(err.Error())
}

func (r *runner) serve(ctx context.Context) error {
	l, err := r.supervisor.listen(r.info.Port)
	if err != nil {
		return fmt.Errorf("listen on port %d: %w", r.info.Port, err)
	}
	defer l.Close()
	r.setState(Serving)
	defer r.setState(NotServing)
	r.supervisor.log.Info("service started", "service", r.info.Name, "port", r.info.Port)
	return r.service.Serve(ctx, l)
}

// setState tells the registry. Once removed, the runner says no more: another
// service may have its name by then.
func (r *runner) setState(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.removed {
		return
	}
	if err := r.supervisor.registry.SetState(r.info.Name, s); err != nil {
		r.supervisor.log.Error("service state", "service", r.info.Name, "error", err)
	}
}

// remove ends what the runner says about the service.
func (r *runner) remove() {
	r.setState(NotServing)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removed = true
}

func (r *runner) isRemoved() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.removed
}

func (r *runner) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *runner) panicked(msg string) {
	r.panics.Add(1)
	r.fail(fmt.Errorf("panic: %s", msg))
}

func (r *runner) status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Status{
		Entry:  Entry{Info: r.info, State: r.supervisor.registry.State(r.info.Name)},
		Starts: r.starts.Load(),
		Panics: r.panics.Load(),
		Err:    r.err,
	}
}
