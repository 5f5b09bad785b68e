package pid1

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// grace is how long an action that was told to stop by its context may take to
// return with an error of its own, which says more than that time ran out.
const grace = 100 * time.Millisecond

// errNoAnswer says that an action ignored its deadline and was left behind.
var errNoAnswer = errors.New("no answer")

// panicError is a panic that was caught, with the stack it came from.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// bounded runs f and returns within d and a grace, whatever f does. A function
// that returns neither at its end nor at its context's is left behind on its
// goroutine: nothing can stop it, and PID 1 goes on without it.
func bounded(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d, fmt.Errorf("not done within %v", d))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- caught(ctx, f) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case err := <-done:
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return err
	case <-late.C:
		return fmt.Errorf("%w: %w", context.Cause(ctx), errNoAnswer)
	}
}

// caught runs f and returns a panic in it as its error.
func caught(ctx context.Context, f func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	return f(ctx)
}
