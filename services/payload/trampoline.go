package payload

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// TrampolineName is what the binary is called, as its argument 0, when it is to be
// nothing but the start of another program.
const TrampolineName = "xvsock-exec"

// Trampoline becomes the program args[1] with the arguments args[1:], the environment
// env, and LISTEN_PID set to its own process id. It returns only the error for which
// it could not; its text names the program.
//
// By the protocol of sd_listen_fds(3) a program takes descriptors only if LISTEN_PID
// is its own pid, which nobody knows before the process exists. So the process begins
// as this binary, and main calls Trampoline before it does anything else:
//
//	if os.Args[0] == payload.TrampolineName {
//		fmt.Fprintln(os.Stderr, payload.Trampoline(os.Args, os.Environ()))
//		os.Exit(127)
//	}
//
// User, group and descriptors are by then those of the program.
func Trampoline(args, env []string) error {
	if len(args) < 2 {
		return fmt.Errorf("%s: no program", TrampolineName)
	}
	own := make([]string, 0, len(env)+1)
	for _, v := range env {
		if !strings.HasPrefix(v, "LISTEN_PID=") {
			own = append(own, v)
		}
	}
	own = append(own, fmt.Sprintf("LISTEN_PID=%d", os.Getpid()))
	return fmt.Errorf("exec %s: %w", args[1], unix.Exec(args[1], args[1:], own))
}

// throughTrampoline lets a command begin as this binary, wherever its file is by now.
func throughTrampoline(cmd *exec.Cmd) {
	cmd.Path = "/proc/self/exe"
	cmd.Args = append([]string{TrampolineName}, cmd.Args...)
}
