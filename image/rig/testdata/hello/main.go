// Command hello is a guest's PID 1 for the rig's own tests: it says what it
// was booted with, then does what "hello=" on the command line says.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	say("hello from PID %d", os.Getpid())
	if err := os.MkdirAll("/proc", 0o555); err != nil {
		say("cannot make /proc: %v", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		say("cannot mount /proc: %v", err)
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		say("cannot read the command line: %v", err)
	}
	say("booted with %s", strings.TrimSpace(string(cmdline)))
	switch {
	case strings.Contains(string(cmdline), "hello=poweroff"):
		say("powering off")
		if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
			say("cannot power off: %v", err)
		}
	case strings.Contains(string(cmdline), "hello=tick"):
		for i := 0; ; i++ {
			say("tick %d", i)
			time.Sleep(200 * time.Millisecond)
		}
	}
	// Wait for a signal that never comes: the runtime would call a bare
	// select a deadlock.
	never := make(chan os.Signal, 1)
	signal.Notify(never, unix.SIGUSR1)
	<-never
}

func say(format string, args ...any) { fmt.Printf("hello: "+format+"\n", args...) }
