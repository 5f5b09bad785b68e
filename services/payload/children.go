package payload

import (
	"context"
	"os/exec"

	"golang.org/x/sys/unix"
)

// OwnChildren returns Programs for a process that is not PID 1: each program is
// waited for in a goroutine of its own, and for no other child is waited.
//
// Descriptors that this process has inherited from its parent are kept from programs:
// each Start marks all that is open in this process as close-on-exec, as Go does with
// what it opens. A process that hands descriptors to children of its own names them in
// exec.Cmd.ExtraFiles, which this does not touch.
func OwnChildren() Programs { return ownChildren{} }

type ownChildren struct{}

// Start implements Programs.
func (ownChildren) Start(cmd *exec.Cmd) (Process, error) {
	keepDescriptors()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, pid: cmd.Process.Pid, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = cmd.Wait()
	}()
	return c, nil
}

// child is a program that ownChildren started.
type child struct {
	cmd  *exec.Cmd
	pid  int
	done chan struct{}
	err  error // of Wait; written once, before done is closed
}

func (c *child) PID() int              { return c.pid }
func (c *child) Done() <-chan struct{} { return c.done }

func (c *child) Wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *child) Signal(sig unix.Signal) error { return c.cmd.Process.Signal(sig) }
