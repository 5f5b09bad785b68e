package pid1

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// outputDelay bounds how long the output of a program is still collected after
// it ended, when a child of its own holds the pipe open.
const outputDelay = 5 * time.Second

// Reaper buries the processes that PID 1 inherits, and keeps the exit status of
// those that it started itself.
//
// It is the only one in the process that waits for children: waiting for any
// child takes the status away from whoever waits for that one. So programs are
// started by Start and never by exec.Cmd alone. The lock is held from before a
// fork until the child is known, and while a child is waited for, so a program
// that ends at once is not taken for an orphan.
type Reaper struct {
	mu    sync.Mutex
	own   map[int]*Process // by pid; only those not waited for yet
	round chan struct{}    // closed after the next child was waited for

	// wait is waitChild, but in a test.
	wait func(*unix.WaitStatus) (pid int, err error)
}

// NewReaper returns a Reaper. It does nothing before Run.
func NewReaper() *Reaper {
	return &Reaper{own: map[int]*Process{}, round: make(chan struct{}), wait: waitChild}
}

// waitChild waits for any child that has ended. It returns 0 if none has.
func waitChild(status *unix.WaitStatus) (pid int, err error) {
	return unix.Wait4(-1, status, unix.WNOHANG, nil)
}

// Run waits for children until ctx ends. It sleeps until the kernel tells of one
// (SIGCHLD), so a domain without deaths costs nothing; signals that come
// together are one, and one empties the whole queue.
func (r *Reaper) Run(ctx context.Context) error {
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	defer signal.Stop(died)
	for {
		// First, too: children may have died before anybody listened.
		if err := r.reap(ctx); err != nil && !errors.Is(err, unix.ECHILD) {
			return err
		}
		select {
		case <-died:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// reap waits for every child that has ended. It returns ECHILD if no child,
// living or dead, is left, and ctx's error if they end faster than they are
// buried for as long as ctx lasts.
func (r *Reaper) reap(ctx context.Context) error {
	for ctx.Err() == nil {
		more, err := r.reapOne()
		if err != nil || !more {
			return err
		}
	}
	return context.Cause(ctx)
}

// reapOne holds the lock for one child only, so that a storm of orphans does
// not keep Start and Signal waiting.
func (r *Reaper) reapOne() (more bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var status unix.WaitStatus
	pid, err := r.wait(&status)
	switch {
	case errors.Is(err, unix.EINTR):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("wait for children: %w", err)
	case pid == 0:
		return false, nil
	}
	if p := r.own[pid]; p != nil {
		delete(r.own, pid)
		p.ended(status)
	}
	close(r.round)
	r.round = make(chan struct{})
	return true, nil
}

// Drain returns when no child is left, or with ctx's error.
func (r *Reaper) Drain(ctx context.Context) error {
	for {
		r.mu.Lock()
		round := r.round
		r.mu.Unlock()
		if err := r.reap(ctx); errors.Is(err, unix.ECHILD) {
			return nil
		} else if err != nil {
			return err
		}
		select {
		case <-round:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Process is a program that a Reaper started.
type Process struct {
	reaper *Reaper
	pid    int
	cmd    *exec.Cmd
	done   chan struct{}

	status unix.WaitStatus // written once, before done is closed
}

// Start starts cmd as exec.Cmd.Start does. The caller must not call cmd's Wait,
// nor use cmd.Process: Process takes their place.
func (r *Reaper) Start(cmd *exec.Cmd) (*Process, error) {
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = outputDelay
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{reaper: r, pid: cmd.Process.Pid, cmd: cmd, done: make(chan struct{})}
	r.own[p.pid] = p
	return p, nil
}

// ended is told that the process was waited for. Its reaper's lock is held.
func (p *Process) ended(status unix.WaitStatus) {
	p.status = status
	// From here on the pid may be another's. Released, cmd makes no system call
	// with it any more, and its Wait only collects the output.
	_ = p.cmd.Process.Release()
	go func() {
		defer close(p.done)
		// It always says EINVAL, for a process that was released.
		_ = p.cmd.Wait()
	}()
}

// PID returns the process id, which is another's once Done is closed.
func (p *Process) PID() int { return p.pid }

// Done is closed when the program has ended and its output is collected.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait returns nil when the program has ended with status 0, an *ExitError when
// with another or by a signal, or ctx's error.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if p.status.Exited() && p.status.ExitStatus() == 0 {
		return nil
	}
	return &ExitError{p.status}
}

// Signal sends a signal to the program. It returns os.ErrProcessDone, and
// touches nobody, if the program has ended.
func (p *Process) Signal(sig unix.Signal) error {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	// Until it was waited for, which takes the lock, the pid is its own.
	if p.reaper.own[p.pid] != p {
		return os.ErrProcessDone
	}
	return unix.Kill(p.pid, sig)
}

// ExitError is how a program ended that did not end well.
type ExitError struct{ Status unix.WaitStatus }

// Error says the exit status or the signal.
func (e *ExitError) Error() string {
	if e.Status.Signaled() {
		return "killed by " + unix.SignalName(e.Status.Signal())
	}
	return fmt.Sprintf("exit status %d", e.Status.ExitStatus())
}

// Signaled reports whether a signal ended the program.
func (e *ExitError) Signaled() bool { return e.Status.Signaled() }
