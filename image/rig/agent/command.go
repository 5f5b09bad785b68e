package main

import (
	"errors"
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
	stdin chan []byte // closed after the end of the input
	once  sync.Once   // closes stdin

	mu   sync.Mutex
	pid  int
	over bool // reaped: the pid may be another's
}

// stdinFrames is how much input may wait for a command that does not read.
// The rig writes no more than this without being told that it went on.
const stdinFrames = 1024

func startCommand(id uint32, request wire.Exec, out *wire.Writer) *command {
	c := &command{stdin: make(chan []byte, stdinFrames)}
	if len(request.Args) == 0 {
		exit(out, id, wire.Exit{Code: 127, Error: "no command named"})
		return c
	}
	cmd := exec.Command(request.Args[0], request.Args[1:]...)
	cmd.Env = append(os.Environ(), request.Env...)
	cmd.Dir = request.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = orphanDelay
	cmd.Stdout = out.Bytes(id, wire.KindStdout)
	cmd.Stderr = out.Bytes(id, wire.KindStderr)
	input, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		exit(out, id, wire.Exit{Code: 127, Error: err.Error()})
		return c
	}
	c.pid = cmd.Process.Pid
	if err := out.WriteJSON(id, wire.KindStarted, wire.Started{PID: c.pid}); err != nil {
		log.Print(err)
	}
	go func() {
		for data := range c.stdin {
			if _, err := input.Write(data); err != nil {
				break // the command closed its input
			}
		}
		_ = input.Close()
	}()
	go func() {
		exit(out, id, c.wait(cmd))
	}()
	return c
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
	if len(data) == 0 {
		c.once.Do(func() { close(c.stdin) })
		return
	}
	select {
	case c.stdin <- data:
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

func exit(out *wire.Writer, id uint32, e wire.Exit) {
	if err := out.WriteJSON(id, wire.KindExit, e); err != nil {
		log.Print(err)
	}
}
