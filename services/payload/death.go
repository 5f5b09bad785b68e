package payload

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// signaled reports whether an error of Process.Wait says that a signal ended the
// program.
func signaled(err error) bool {
	var by interface{ Signaled() bool }
	if errors.As(err, &by) {
		return by.Signaled()
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

// flagExiting is PF_EXITING of include/linux/sched.h. The kernel sets it before it
// closes what a process holds open.
const flagExiting = 0x4

// exiting reports whether a process is on its way out or has gone: an end of its
// output is seen a moment before it can be waited for. It reads the state and the
// flags of proc_pid_stat(5); a process that nobody can look at counts as gone.
func exiting(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	const flags = 6 // behind the name, which may have blanks and brackets in it
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) <= flags {
		return true
	}
	n, err := strconv.ParseUint(fields[flags], 10, 64)
	return err != nil || n&flagExiting != 0
}
