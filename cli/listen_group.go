package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// programTime is what a program and all of its group have between SIGTERM and SIGKILL.
	programTime = 2 * time.Second
	// groupPause is between two looks whether a group whose leader has exited has others.
	groupPause = 50 * time.Millisecond
)

// awaitExit waits until a child has exited, and leaves it to be waited for: until that is
// done nobody else can have its number, or that of its group.
func awaitExit(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// stopGroup ends a program and all of its group, which it leads. The program was not
// waited for, and exited is closed when it has exited.
//
//	SIGTERM --> program runs --exited--> others run --all exited--> SIGKILL
//	                 |                       |                        ^
//	                 '-----------------------'------programTime-------'
//
// The last SIGKILL is for who was started while it was looked for others.
func stopGroup(pid int, exited <-chan struct{}) {
	_ = unix.Kill(-pid, unix.SIGTERM)
	awaitGroup(pid, exited)
	_ = unix.Kill(-pid, unix.SIGKILL)
}

// awaitGroup waits until all of a group has exited, but not for long.
func awaitGroup(pid int, exited <-chan struct{}) {
	late := time.NewTimer(programTime)
	defer late.Stop()
	select {
	case <-exited:
	case <-late.C:
		return
	}
	for groupRuns(pid) {
		select {
		case <-time.After(groupPause):
		case <-late.C:
			return
		}
	}
}

// groupRuns reports whether a process of the group has not exited. Signal 0 cannot tell:
// the leader, which was not waited for, is of the group too. Where there is no /proc it
// says yes.
func groupRuns(group int) bool {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return true
	}
	for _, stat := range stats {
		line, err := os.ReadFile(stat)
		if err == nil && runsIn(line, group) {
			return true
		}
	}
	return false
}

// runsIn reports whether a line of /proc/PID/stat (proc_pid_stat(5)) is of a process of
// the group that has not exited. The name, in parentheses, may hold anything.
func runsIn(line []byte, group int) bool {
	fields := bytes.Fields(line[bytes.LastIndexByte(line, ')')+1:])
	if len(fields) < 3 {
		return false
	}
	state, of := string(fields[0]), string(fields[2])
	return of == strconv.Itoa(group) && state != "Z" && state != "X"
}
