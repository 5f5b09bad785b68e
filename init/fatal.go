package pid1

import (
	"context"
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// fatalPause lies between the fatal line and the end, so that a domain that
// dies at every boot does not spin its host and its console can be read.
const fatalPause = 2 * time.Second

// fatalPolicy is xvsock.panic, known only once the settings are read. Until
// then a domain that cannot boot powers off: it would fail the same way again.
type fatalPolicy struct{ how atomic.Int64 }

// OnFatal says what Fatal does from now on. The default is PowerOff.
func (in *Init) OnFatal(how How) { in.fatal.how.Store(int64(how)) }

// Fatal ends the domain because of err: one line on the console, then Shutdown
// as OnFatal said. It never returns on a real machine, because PID 1 that
// returns is a kernel panic; where reboot(2) is refused it blocks until ctx
// ends. During a shutdown it only says its line and blocks, as that shutdown
// ends the domain anyway.
func (in *Init) Fatal(ctx context.Context, err error) {
	how := How(in.fatal.how.Load())
	in.say("fatal: %v; xvsock.panic=%s", err, how)
	in.logStack(err)
	pause := time.NewTimer(fatalPause)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
	// The domain must end even if the context that the failure came with has
	// ended too.
	if in.Shutdown(context.WithoutCancel(ctx), how) != nil {
		<-ctx.Done()
	}
}

// Guard is deferred at the top of every goroutine of PID 1 that has no keeper
// of its own: a panic there ends the domain by Fatal and not by the runtime,
// whose exit would be a kernel panic.
func (in *Init) Guard() {
	if v := recover(); v != nil {
		in.Fatal(context.Background(), &panicError{v, debug.Stack()})
	}
}

// Go runs f on a goroutine of its own under Guard. An error other than the end
// of ctx is fatal.
func (in *Init) Go(ctx context.Context, f func(context.Context) error) {
	go func() {
		defer in.Guard()
		if err := f(ctx); err != nil && !errors.Is(err, context.Canceled) {
			in.Fatal(ctx, err)
		}
	}()
}
