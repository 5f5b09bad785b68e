package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"github.com/thejerf/suture/v4"
)

const (
	// prepareTimeout bounds a service's Prepare.
	prepareTimeout = 30 * time.Second
	// quietTime is how often a service is spoken of that fails again and again,
	// once the pauses have reached their longest.
	quietTime = time.Minute
)

var (
	// errReturned stands for a service that returned nil before it was asked to
	// stop.
	errReturned = errors.New("returned without being asked to stop")
	// errRestart is why a life ended that Restart ended.
	errRestart = errors.New("restarted")
	// errPrepare is why a Prepare ended that took too long.
	errPrepare = fmt.Errorf("not ready after %v", prepareTimeout)
)

// runner is one service in the tree of a supervisor, from Add to Remove: it runs
// life after life of the service, with a pause after each that failed, and lets
// its health follow.
type runner struct {
	supervisor *Supervisor
	info       Info
	service    Service
	token      suture.ServiceToken
	again      chan struct{} // holds one while a restart waits

	// What follows is used by Serve alone.

	backoff backoff
	up      bool      // the life that goes on, or was last, came to serve
	said    time.Time // when a failure was last spoken of
	unsaid  int       // failures since

	mu      sync.Mutex
	stopped chan struct{} // closed when Serve returns; nil while it does not run
	removed bool
	end     context.CancelCauseFunc // of the life going on; nil between two
	hung    *time.Timer             // speaks when a restart waits too long for it
	status  Status                  // but for Entry.State and what a Counter tells
}

func newRunner(s *Supervisor, i Info, svc Service) *runner {
	return &runner{
		supervisor: s, info: i, service: svc,
		again:  make(chan struct{}, 1),
		status: Status{Entry: Entry{Info: i}, Since: time.Now()},
	}
}

// String is how suture names the service.
func (r *runner) String() string { return r.info.Name }

// Serve runs the service until ctx is done. It never returns before, so that
// suture has nothing to start again.
func (r *runner) Serve(ctx context.Context) error {
	if !r.enter() {
		return suture.ErrDoNotRestart
	}
	defer r.leave()
	if c, ok := r.service.(io.Closer); ok {
		defer c.Close()
	}
	for ctx.Err() == nil {
		restart, err := r.life(ctx)
		switch {
		case ctx.Err() != nil:
		case restart:
			r.backoff.forget()
			r.supervisor.log.Info("service is restarted", "service", r.info.Name)
		case errors.Is(err, ErrFinished):
			r.fail(err)
			r.supervisor.log.Info("service finished", "service", r.info.Name)
			r.rest(ctx, nil)
		default:
			r.fail(err)
			r.pause(ctx, err)
		}
	}
	return nil
}

// life is one life of the service, and reports whether Restart ended it.
func (r *runner) life(ctx context.Context) (restart bool, err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	r.up = false
	r.begin(end)
	defer r.finish()
	err = r.serve(ctx)
	if err == nil {
		err = errReturned
	}
	return context.Cause(ctx) == errRestart, err
}

// serve prepares the service and serves a new listener. The panic of a service
// is its end, like an error.
func (r *runner) serve(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			r.panicked()
			r.supervisor.log.Error("service panicked", "service", r.info.Name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	if err := r.prepare(ctx); err != nil {
		return err
	}
	l, err := r.supervisor.listen(r.info.Port)
	if err != nil {
		return fmt.Errorf("listen on port %d: %w", r.info.Port, err)
	}
	defer l.Close()
	if r.up = r.serving(ctx); !r.up {
		return nil
	}
	r.supervisor.log.Info("service started", "service", r.info.Name, "port", r.info.Port)
	return r.service.Serve(ctx, l)
}

func (r *runner) prepare(ctx context.Context) error {
	p, ok := r.service.(Preparer)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, prepareTimeout, errPrepare)
	defer cancel()
	err := p.Prepare(ctx)
	if err != nil && context.Cause(ctx) == errPrepare {
		return fmt.Errorf("%w: %w", errPrepare, err)
	}
	return err
}

// pause speaks of a failure and waits until the service may be tried again. While
// the pauses grow each failure is said, then one in a minute, so that a service
// that never comes does not fill the log.
func (r *runner) pause(ctx context.Context, err error) {
	d, longest := r.backoff.pause()
	r.unsaid++
	if !longest || time.Since(r.said) >= quietTime {
		what := "service ended"
		if !r.up {
			what = "service cannot start"
		}
		r.supervisor.log.Warn(what, "service", r.info.Name, "error", err.Error(),
			"again_in", d.Round(time.Millisecond), "times", r.unsaid)
		r.said, r.unsaid = time.Now(), 0
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	r.rest(ctx, timer.C)
}

// rest waits for the end of the pause, a restart, or the end.
func (r *runner) rest(ctx context.Context, over <-chan time.Time) {
	select {
	case <-over:
	case <-r.again:
		r.backoff.forget()
	case <-ctx.Done():
	}
}
