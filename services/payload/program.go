package payload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// termTime is what a program has between SIGTERM and SIGKILL.
	termTime = 2 * time.Second
	// killTime is how long a killed program is waited for. One that hangs in the
	// kernel is left to whoever waits for children.
	killTime = time.Second
	// restTime is how long others may hold the output of a program that has ended.
	restTime = time.Second
)

// searchPath is the PATH of every program.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// program is one run of a program.
//
//	running --ends--------------------------> ended --bury--> its group is gone
//	   |                                        ^
//	   +--stop: SIGTERM, 2 s, SIGKILL, 1 s------+ (or given up)
type program struct {
	process Process
	voice   *voice
	began   time.Time
	stopped bool // by us
}

// command returns a command for args, to be given its files and started.
func (c *Config) command(args []string, env ...string) *exec.Cmd {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if c.UID != 0 || c.GID != 0 || os.Geteuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: c.UID, Gid: c.GID} // and no Groups
	}
	return &exec.Cmd{
		Path: args[0],
		Args: args,
		Env: append([]string{searchPath, "XVSOCK_SERVICE=" + c.Name,
			fmt.Sprintf("XVSOCK_PORT=%d", c.Port)}, env...),
		Dir:         "/",
		SysProcAttr: attr,
	}
}

// start starts a command. Files that were given to it are closed, whatever comes of
// it.
func (c *Config) start(cmd *exec.Cmd, v *voice, files ...*os.File) (*program, error) {
	defer closeAll(files)
	process, err := c.Programs.Start(cmd)
	if err != nil {
		return nil, err
	}
	c.Log.Debug("program started", "pid", process.PID())
	return &program{process: process, voice: v, began: time.Now()}, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// stop ends the program. It takes 3 s at most.
func (p *program) stop() {
	p.stopped = true
	for _, step := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, termTime}, {unix.SIGKILL, killTime}} {
		p.signal(step.signal)
		if within(p.process.Done(), step.wait) {
			return
		}
	}
	p.voice.log.Error("program does not end", "pid", p.process.PID())
}

// bury kills what is left of the program's group, and says how the program ended.
func (p *program) bury() {
	p.signal(unix.SIGKILL)
	if within(p.process.Done(), 0) {
		p.voice.ended(p)
	}
}

// status returns how the program ended, nil if with status 0. It has ended.
func (p *program) status() error { return p.process.Wait(context.Background()) }

// signal sends a signal to the program's group.
//
// The group's number is the program's pid. As long as the program was not waited
// for, or the group has a member, the kernel gives the number to nobody else. So
// after the program's end a process of that pid is a stranger and the group is empty;
// if there is none, the number leads to the group or to nobody.
func (p *program) signal(sig unix.Signal) {
	pid := p.process.PID()
	if pid <= 1 { // would be everybody, or our own group
		_ = p.process.Signal(sig)
		return
	}
	if p.process.Signal(0) != nil && !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return
	}
	_ = unix.Kill(-pid, sig) // ESRCH: nobody is left
}

// within waits for done, and reports whether it came in time.
func within(done <-chan struct{}, d time.Duration) bool {
	select {
	case <-done:
		return true
	default:
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
