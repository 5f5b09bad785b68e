package payload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
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

// fallbackPath is the PATH of programs if this process has none.
const fallbackPath = "/usr/bin:/bin"

// program is one run of a program.
//
//	running --ends--------------------------> ended --bury--> its group is gone
//	   |                                        ^
//	   +--stop: SIGTERM, 2 s, SIGKILL, 1 s------+ (or given up)
type program struct {
	process Process
	voice   *voice
	began   time.Time
	stopped atomic.Bool   // by us
	took    time.Duration // its life, once it was seen to have ended
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
		Env: append(append(surroundings(), "XVSOCK_SERVICE="+c.Name,
			fmt.Sprintf("XVSOCK_PORT=%d", c.Port)), env...),
		Dir:         "/",
		SysProcAttr: attr,
	}
}

// surroundings are what programs take over from this process, and all of it.
func surroundings() []string {
	env := []string{"PATH=" + cmp.Or(os.Getenv("PATH"), fallbackPath)}
	for _, name := range []string{"HOME", "TERM"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
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
	p.stopped.Store(true)
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
	if p.ended() {
		p.voice.ended(p)
	}
}

// ended reports whether the program has ended, and notes how long it lived. One
// goroutine at a time asks.
func (p *program) ended() bool {
	if !within(p.process.Done(), 0) {
		return false
	}
	if p.took == 0 {
		p.took = time.Since(p.began)
	}
	return true
}

// status returns how the program ended, nil if with status 0. It has ended.
func (p *program) status() error { return p.process.Wait(context.Background()) }

// failure says which program failed, after how long and how; nil if it ended with
// status 0. It has ended.
func (p *program) failure(path string) error {
	if err := p.status(); err != nil {
		return fmt.Errorf("%s ended after %v: %w", path, p.took.Round(time.Millisecond), err)
	}
	return nil
}

// killed reports whether the program ended by a signal, or does not end at all: what
// it was about to say is not said. A status, whichever, is a program's own word.
func (p *program) killed() bool {
	if !within(p.process.Done(), 0) {
		return true
	}
	return signaled(p.status())
}

// died reports whether the end of what the program says, which was just seen, came by
// its being killed.
func (p *program) died() bool {
	if !within(p.process.Done(), 0) && !exiting(p.process.PID()) {
		return false // it lives, and has closed its output
	}
	within(p.process.Done(), restTime)
	return p.killed()
}

// signal sends a signal to the program's group, whose number is the program's pid.
//
// As long as the program was not waited for, or the group has a member, the kernel
// gives the number to nobody else. So if after the program's end there is a process of
// that pid, it is a stranger and the group is empty. If there is none, the number
// leads to what is left of the group, or to nobody; that a stranger gets it, and makes
// a group of it, between the look and the signal is not ruled out, but takes as many
// new processes in that moment as there are pids.
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
