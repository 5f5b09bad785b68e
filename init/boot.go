package pid1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// DefaultTimeout is how long a step may take if it does not say otherwise. It
// is long for a machine that emulates another, and short for a person who waits.
const DefaultTimeout = 10 * time.Second

// Step is one row of the boot table.
type Step struct {
	// Name is one word, as the ready line and the failure line print it.
	Name string
	// Run brings the step up. Its context ends with the step: what lives longer
	// takes another. An error that is a *Fault says what to do about it.
	Run func(context.Context) error
	// Stop takes down what Run brought up, at shutdown, in reverse order. It is
	// called only if Run succeeded. Nil: nothing to stop.
	Stop func(context.Context) error
	// Timeout bounds Run. 0: DefaultTimeout.
	Timeout time.Duration
	// StopTimeout bounds Stop, within what all stops together may take (15 s).
	// 0: 3 s.
	StopTimeout time.Duration
	// Optional steps may fail: the failure is said and the boot goes on.
	Optional bool
}

// Options is what an Init needs to know.
type Options struct {
	Kernel  Kernel    // every effect on the machine
	Console io.Writer // where lines for a person go; never nil
	// Log gets what is worth more than a line, such as the stack of a panic.
	// Nil: nowhere.
	Log *slog.Logger
	// Start is when the process's first instruction ran.
	Start time.Time
	// Reaper waits for programs, a *Reaper on a real machine. Nil: nobody knows
	// at shutdown whether programs still run, and there is no shell.
	Reaper Programs
	// Tell, if given, passes on to the toolstack what it should know. The calls
	// are made one after the other, on a goroutine that nothing waits for but,
	// for a second, a shutdown; so it may take its time.
	Tell Tell
	// Root is the directory that stands for /. Empty: /.
	Root string
}

// Programs are the programs that PID 1 runs and inherits. A *Reaper is one.
type Programs interface {
	// Run waits for those that end, until ctx ends.
	Run(ctx context.Context) error
	// Drain returns when none is left, or with ctx's error.
	Drain(ctx context.Context) error
	// OnTerminal starts a program in a session of its own, whose controlling
	// terminal and standard input, output and error is the one at path. The
	// channel is closed when it has ended.
	OnTerminal(path string, argv []string) (ended <-chan struct{}, err error)
}

// Init is PID 1 between its first instruction and its last. Its life:
//
//	New ──Boot──▶ booting ──every step──▶ ready
//	                 │                      │
//	                 ├──── Shutdown, Fatal ─┘
//	                 ▼
//	             stopping ──stops, processes, disks──▶ reboot(2)
//
// There is no way back from stopping. All methods may be called from any
// goroutine, Boot once.
type Init struct {
	o     Options
	fatal fatalPolicy
	told  *queue // what Tell is called with

	mu       sync.Mutex
	up       []Step             // steps that ran and have a Stop, in order
	cancel   context.CancelFunc // ends the boot in progress
	booted   chan struct{}      // closed when Boot has returned; nil before Boot
	stopping bool
}

// ErrStopping says that the domain is going down, so nothing new is started.
var ErrStopping = errors.New("shutting down")

// New returns the Init that Options describe.
func New(o Options) *Init {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	in := &Init{}
	in.told = &queue{tell: o.Tell, failed: in.logStack}
	if o.Tell != nil {
		o.Tell = in.told.add
	}
	in.o = o
	return in
}

func (in *Init) path(p string) string { return filepath.Join("/", in.o.Root, p) }

// Boot runs the table in order and prints when the domain is ready and what
// took how long. A step that fails prints one line; unless it is optional, Boot
// returns that error at once and the caller decides, usually by Fatal. What was
// started stays up until Shutdown. When Shutdown interrupts it, the error wraps
// ErrStopping.
func (in *Init) Boot(ctx context.Context, steps []Step) error {
	ctx, end, err := in.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	in.report(TellState, "booting")
	times := make([]string, 0, len(steps))
	for _, step := range steps {
		begun := time.Now()
		err := in.run(ctx, step)
		took := short(time.Since(begun))
		switch {
		case err == nil:
			times = append(times, step.Name+" "+took)
		case ctx.Err() != nil:
			return fmt.Errorf("boot: %s: %w", step.Name, context.Cause(ctx))
		case step.Optional:
			in.failed(step, err, "going on without it")
			times = append(times, step.Name+" failed after "+took)
		default:
			in.failed(step, err, "")
			return fmt.Errorf("boot: %s: %w", step.Name, err)
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("boot: %w", context.Cause(ctx))
	}
	in.report(TellState, "ready")
	in.say("ready in %s (%s)", short(time.Since(in.o.Start)), strings.Join(times, ", "))
	return nil
}

// begin makes the context that Shutdown can end, and the function that tells
// Shutdown that the boot is over.
func (in *Init) begin(ctx context.Context) (context.Context, func(), error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stopping {
		return nil, nil, fmt.Errorf("boot: %w", ErrStopping)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	in.cancel = func() { cancel(ErrStopping) }
	booted := make(chan struct{})
	in.booted = booted
	return ctx, func() { in.cancel(); close(booted) }, nil
}

// run runs one step and notes how to stop it.
func (in *Init) run(ctx context.Context, step Step) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	d := step.Timeout
	if d == 0 {
		d = DefaultTimeout
	}
	if err := bounded(ctx, d, step.Run); err != nil {
		return err
	}
	if step.Stop != nil {
		in.mu.Lock()
		in.up = append(in.up, step)
		in.mu.Unlock()
	}
	return nil
}

func (in *Init) failed(step Step, err error, then string) {
	if then != "" {
		then = "; " + then
	}
	in.say("boot: %s: %v%s", step.Name, err, then)
	in.logStack(err)
}

// logStack keeps the stack of a panic for who looks for it; the console got
// the one line already.
func (in *Init) logStack(err error) {
	if p, ok := errors.AsType[*panicError](err); ok {
		in.o.Log.Error("panic", "value", fmt.Sprint(p.value), "stack", string(p.stack))
	}
}

// say prints one line for a person. A console that cannot be written to is no
// reason to stop.
func (in *Init) say(format string, args ...any) {
	fmt.Fprintf(in.o.Console, "xvsock: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// short spells a duration as a person compares them: milliseconds, with a
// decimal only where it says something.
func short(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%dms", d.Milliseconds())
}
