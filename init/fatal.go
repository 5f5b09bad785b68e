package pid1

import (
	"context"
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"xvsock/config"
)

// fatalPause lies between the fatal line and the end, so that a domain that
// dies at every boot does not spin its host and its console can be read.
const fatalPause = 2 * time.Second

// fatalPolicy is what Fatal does, and whether it does it already:
//
//	armed ──first Fatal──▶ ending ──pause, or the shell's end──▶ Shutdown
//
// In ending another failure is said and waits: the first one ends the domain,
// and a person at its shell is not cut off by what fails meanwhile.
type fatalPolicy struct {
	what   atomic.Int64 // config.Fatal
	ending atomic.Bool
}

// OnFatal says what Fatal does from now on: the setting panic, known only once
// the settings are read. Until then it is config.Halt: a domain that cannot
// boot would fail the same way again.
func (in *Init) OnFatal(what config.Fatal) { in.fatal.what.Store(int64(what)) }

// Fatal ends the domain because of err: one line on the console, then what
// OnFatal said, a power-off, a reboot, or a shell and a power-off when that
// ends. It never returns on a real machine, because PID 1 that returns is a
// kernel panic; where reboot(2) is refused it blocks until ctx ends. During a
// shutdown, or after an earlier Fatal, it only says its line and blocks, as the
// domain is ending anyway.
func (in *Init) Fatal(ctx context.Context, err error) {
	what := config.Fatal(in.fatal.what.Load())
	in.say("fatal: %v; xvsock.panic=%s", err, what)
	in.logStack(err)
	in.report(TellFailure, err.Error())
	in.report(TellState, "failed")
	if in.isStopping() || !in.fatal.ending.CompareAndSwap(false, true) {
		<-ctx.Done()
		return
	}
	pause := time.NewTimer(fatalPause)
	defer pause.Stop()
	how := PowerOff
	switch what {
	case config.Reboot:
		how = Reboot
	case config.Shell:
		in.shell()
	}
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

// Go runs f on a goroutine of its own. An error other than the end of ctx is
// fatal, and so is a panic.
func (in *Init) Go(ctx context.Context, f func(context.Context) error) {
	go func() {
		if err := caught(ctx, f); err != nil && !errors.Is(err, context.Canceled) {
			in.Fatal(ctx, err)
		}
	}()
}
