package pid1

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// How is the way a domain ends.
type How int

const (
	// PowerOff ends the domain; what happens then is its on_poweroff setting.
	PowerOff How = iota
	// Reboot starts it again, by its on_reboot setting.
	Reboot
)

// String returns the word for h that the setting panic takes too.
func (h How) String() string {
	if h == Reboot {
		return "reboot"
	}
	return "halt"
}

// command returns the reboot(2) command. Halting is a power-off: a PVH domain
// that runs LINUX_REBOOT_CMD_HALT stays there for ever with stopped processors,
// and no toolstack can tell it from a busy one.
func (h How) command() int {
	if h == Reboot {
		return unix.LINUX_REBOOT_CMD_RESTART
	}
	return unix.LINUX_REBOOT_CMD_POWER_OFF
}

// How long the parts of a shutdown may take. Together they stay under half a
// minute, so that a toolstack need not guess whether a domain still stops.
const (
	stopTimeout    = 3 * time.Second  // one step's Stop, unless it says otherwise
	stopsTimeout   = 15 * time.Second // all of them
	termTimeout    = 2 * time.Second  // programs, after SIGTERM
	killTimeout    = 1 * time.Second  // programs, after SIGKILL
	disksTimeout   = 5 * time.Second  // sync and unmount
	consoleTimeout = 1 * time.Second  // the last lines
	toldTimeout    = 1 * time.Second  // what the toolstack is told
)

// Shutdown takes the domain down: it interrupts a boot in progress, runs the
// stops in reverse, ends every process, writes the disks out and calls
// reboot(2). Each part has a deadline and none stops the next. A service that
// runs programs ends them in its step's Stop, before the links that they speak
// over go; the rest, such as what they left behind, is ended after the stops.
//
// The first call decides how, and nothing makes it shorter: a second returns at
// once.
//
// On a real machine it does not return but with an error: ErrStopping when a
// shutdown is under way already, or the kernel's refusal, after which there is
// nothing left to run and the caller should block.
func (in *Init) Shutdown(ctx context.Context, how How) error {
	if !in.begunStopping() {
		return ErrStopping
	}
	in.say("stopping (%s)", how)
	in.report(TellState, fmt.Sprintf("stopping (%s)", how))
	in.awaitTold(ctx)
	in.stopSteps(ctx)
	in.endProcesses(ctx)
	in.leaveDisks(ctx)
	in.say("stopped (%s) after %s", how, short(time.Since(in.o.Start)))
	in.flush(ctx)
	if err := in.o.Kernel.Reboot(how.command()); err != nil {
		err = fmt.Errorf("%s: %w", how, err)
		in.say("%v", err)
		return err
	}
	return nil
}

// begunStopping ends the boot and reports whether this call is the first.
func (in *Init) begunStopping() bool {
	in.mu.Lock()
	first := !in.stopping
	in.stopping = true
	cancel, booted := in.cancel, in.booted
	in.mu.Unlock()
	if first && booted != nil {
		// bounded returns within its grace once its context is done, so the
		// boot does too, and no step joins the list after this.
		cancel()
		<-booted
	}
	return first
}

func (in *Init) isStopping() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.stopping
}

// awaitTold waits for what was told, before a stop closes the connection that it
// goes over.
func (in *Init) awaitTold(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, toldTimeout)
	defer cancel()
	// A toolstack that does not listen is no reason to stay.
	_ = in.Told(ctx)
}

func (in *Init) stopSteps(ctx context.Context) {
	in.mu.Lock()
	steps := in.up
	in.up = nil
	in.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, stopsTimeout,
		fmt.Errorf("all stops together took more than %v", stopsTimeout))
	defer cancel()
	for _, step := range slices.Backward(steps) {
		if err := bounded(ctx, cmp.Or(step.StopTimeout, stopTimeout), step.Stop); err != nil {
			in.say("stop: %s: %v", step.Name, err)
			in.logStack(err)
		}
	}
}

// endProcesses asks every program to end, then makes it.
func (in *Init) endProcesses(ctx context.Context) {
	for _, round := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, termTimeout}, {unix.SIGKILL, killTimeout}} {
		// ESRCH: there is nobody left.
		if err := in.o.Kernel.SignalAll(round.signal); err == unix.ESRCH {
			return
		} else if err != nil {
			in.say("stop: %v", err)
			return
		}
		if in.alone(ctx, round.wait) {
			return
		}
	}
}

// alone waits until no program is left, for at most d. Without a reaper nobody
// knows, and the programs get the whole time. One that is being started from a
// disk that does not answer keeps the reaper for as long, so Drain too may not
// come back.
func (in *Init) alone(ctx context.Context, d time.Duration) bool {
	wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	if in.o.Reaper != nil {
		wait = in.o.Reaper.Drain
	}
	return bounded(ctx, d, wait) == nil
}

func (in *Init) leaveDisks(ctx context.Context) {
	err := bounded(ctx, disksTimeout, func(context.Context) error {
		in.o.Kernel.Sync()
		return unmountDisks(in.path("/proc/mounts"), in.o.Kernel.Unmount)
	})
	if err != nil {
		in.say("stop: %v", err)
	}
}

// flusher is a console that may still hold lines.
type flusher interface{ Flush(context.Context) error }

func (in *Init) flush(ctx context.Context) {
	f, ok := in.o.Console.(flusher)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, consoleTimeout)
	defer cancel()
	// A console that takes no more lines is no reason to stay.
	_ = f.Flush(ctx)
}
