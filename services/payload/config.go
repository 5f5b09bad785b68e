package payload

import (
	"cmp"
	"context"
	"log/slog"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/services"
)

const (
	defaultMax       = 64
	defaultPerDomain = 16
	defaultUntaken   = 5 * time.Minute
	defaultProbe     = 10 * time.Second
	defaultGrace     = 10 * time.Second
)

// Programs starts programs. PID 1 has its own, because it waits for all children of
// the process; any other process takes OwnChildren.
type Programs interface {
	// Start starts cmd as exec.Cmd.Start does. Nobody else waits for it.
	Start(cmd *exec.Cmd) (Process, error)
}

// Process is a program that was started.
type Process interface {
	// PID returns the process id, which may be another's once Done is closed.
	PID() int
	// Done is closed when the program has ended and was waited for.
	Done() <-chan struct{}
	// Wait returns nil when the program has ended with status 0, an error that says
	// how else, or ctx's error. An error that says that a signal has ended it is, or
	// wraps, an *exec.ExitError, or one with a method Signaled that returns true.
	Wait(ctx context.Context) error
	// Signal sends a signal to the program alone. The error wraps os.ErrProcessDone,
	// and nobody is touched, if the program has ended.
	Signal(unix.Signal) error
}

// Config is what the kinds of payload have in common.
type Config struct {
	// Name and Port are those of the service.
	Name string
	Port uint32
	// Identify tells who is calling; without it nobody is served.
	Identify services.Identify
	// Programs starts programs (nil: OwnChildren).
	Programs Programs
	// Max and PerDomain bound the open connections in all (0: 64) and of one
	// domain (0: 16).
	Max, PerDomain int
	// UID and GID are whom programs run as. With both 0 they run as this process
	// does, root's further groups taken from them.
	UID, GID uint32
	// Untaken is how long a peer may leave what is written to it (0: 5 min): at
	// least half of it passes, at most all.
	Untaken time.Duration
	// Grace is how long a program of exec may take nothing of what a peer sent that
	// has gone, before it is stopped (0: 10 s).
	Grace time.Duration
	// Probe is how often the target of a forward is tried that no connection
	// has reached since (0: 10 s; below 0: never). A try is a connection that is
	// closed at once.
	Probe time.Duration
	// Dir is where exec-once makes the private directory of its socket ("": the
	// first that will have it of /run/xvsock, /run and os.TempDir).
	Dir string
	// Log is told of programs, and what they say; nil for silence.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Programs == nil {
		c.Programs = OwnChildren()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("service", c.Name)
	c.Max = cmp.Or(c.Max, defaultMax)
	c.PerDomain = cmp.Or(c.PerDomain, defaultPerDomain)
	c.Untaken = cmp.Or(c.Untaken, defaultUntaken)
	c.Grace = cmp.Or(c.Grace, defaultGrace)
	c.Probe = cmp.Or(c.Probe, defaultProbe)
	return c
}
