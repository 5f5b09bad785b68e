package pid1

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// Surroundings returns the file systems that nothing of ours needs and programs
// take for granted, in order: terminals, for a shell, and POSIX shared memory.
// /dev/shm holds little, for its pages are the domain's memory. What else a
// payload wants it brings along or mounts itself.
func Surroundings() []Mount {
	return []Mount{
		{Type: "devpts", Target: "/dev/pts", Flags: unix.MS_NOSUID | unix.MS_NOEXEC,
			Options: "mode=0600,ptmxmode=0666", Needs: "CONFIG_UNIX98_PTYS", Optional: true},
		{Type: "tmpfs", Target: "/dev/shm", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC,
			Options: "mode=1777,size=10%", Needs: "CONFIG_TMPFS", Optional: true},
	}
}

// defaultPath is where programs look for others if the kernel's command line
// does not say.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// SurroundingsStep returns the step "surroundings", which makes for payloads and
// for a shell what programs find on any Linux: the mounts of the table, and PATH,
// HOME and TERM in the environment of this process, from which they take theirs.
// The kernel gives PID 1 only HOME=/ and TERM=linux, or what its command line
// has (init/main.c); what is there is left.
func SurroundingsStep(k Kernel, table []Mount) Step {
	return Step{Name: "surroundings", Optional: true, Run: func(context.Context) error {
		for _, v := range [][2]string{{"PATH", defaultPath}, {"HOME", "/"}, {"TERM", "linux"}} {
			if os.Getenv(v[0]) != "" {
				continue
			}
			if err := os.Setenv(v[0], v[1]); err != nil {
				return err
			}
		}
		return mountAll(k, table)
	}}
}
