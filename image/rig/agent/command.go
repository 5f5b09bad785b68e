package main

import (
	"errors"
	"io"
	"log"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"xvsock/image/rig/wire"
)

// command is a running command of the rig, leader of its process group.
type command struct {
	stdin chan []byte   // an empty one is the end of the input
	ended chan struct{} // closed when the command has ended

	mu   sync.Mutex
	pid  int
	over bool // about to be reaped: the pid may soon be another's
}

// stdinFrames is how much input may wait for a command that does not read.
const stdinFrames = 1024

func (a *agent) startCommand(id uint32, request wire.Exec) {
	if len(request.Args) == 0 {
		a.close(id, wire.Exit{Code: 127, Error: "no command named"})
		return
	}
	cmd := exec.Command(request.Args[0], request.Args[1:]...)
	cmd.Env = append(os.Environ(), request.Env...)
	cmd.Dir = request.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = orphanDelay
	told := make(chan struct{})
	cmd.Stdout = heldOutput{until: told, to: a.out.Bytes(id, wire.KindStdout)}
	cmd.Stderr = heldOutput{until: told, to: a.out.Bytes(id, wire.KindStderr)}
	input, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		a.close(id, wire.Exit{Code: 127, Error: err.Error()})
		return
	}
	c := &command{stdin: make(chan []byte, stdinFrames), ended: make(chan struct{}), pid: cmd.Process.Pid}
	a.open(id, c)
	if err := a.out.WriteJSON(id, wire.KindStarted, wire.Started{PID: c.pid}); err != nil {
		log.Print(err)
	}
	close(told)
	go c.feed(input)
	go func() {
		how := c.wait(cmd)
		close(c.ended)
		a.close(id, how)
	}()
}

// heldOutput holds a command's output back until the rig has been told that the
// command runs: Started is the first frame of the stream.
type heldOutput struct {
	until <-chan struct{}
	to    io.Writer
}

// Write implements io.Writer.
func (h heldOutput) Write(p []byte) (int, error) {
	<-h.until
	return h.to.Write(p)
}

// feed writes the command's input until that or the command ends.
func (c *command) feed(input io.WriteCloser) {
	defer input.Close()
	for {
		select {
		case data := <-c.stdin:
			if len(data) == 0 {
				return
			}
			if _, err := input.Write(data); err != nil {
				return // the command closed its input
			}
		case <-c.ended:
			return
		}
	}
}

// wait waits for the command without reaping it first, so that no signal can
// meet a stranger with its pid.
func (c *command) wait(cmd *exec.Cmd) wire.Exit {
	for {
		err := unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	err := cmd.Wait()
	if cmd.ProcessState == nil {
		return wire.Exit{Code: 127, Error: err.Error()}
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return wire.Exit{Code: 128 + int(status.Signal())}
	}
	return wire.Exit{Code: cmd.ProcessState.ExitCode()}
}

func (c *command) input(data []byte) {
	select {
	case c.stdin <- data:
	case <-c.ended:
	default:
		log.Printf("input for pid %d thrown away: it does not read", c.pid)
	}
}

func (c *command) signal(s wire.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	target := c.pid
	if s.Group {
		target = -target // the group outlives its leader, and keeps the number taken
	} else if c.over {
		return
	}
	if target == 0 {
		return
	}
	if err := unix.Kill(target, unix.Signal(s.Number)); err != nil && !errors.Is(err, unix.ESRCH) {
		log.Print(err)
	}
}
