// Command agent is dom0's PID 1 on the rig: it brings up dom0 and the Xen
// toolstack, then does what the rig asks over a virtio serial port (package
// wire).
//
// It is two processes of one program. PID 1 mounts what the other needs,
// starts it, reaps every orphan and powers off when it ends; the child speaks
// with the rig. So waiting for one's own commands and reaping strangers never
// get into each other's way.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("rig: ")
	if os.Getpid() != 1 {
		if err := serve(); err != nil {
			log.Print(err)
			os.Exit(1)
		}
		return
	}
	log.Print(initProcess())
	unix.Sync()
	// QEMU runs with -no-reboot: a restart ends it.
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		log.Print(err)
	}
	select {}
}

// mount is one line of the mount table.
type mount struct{ source, target, kind, options string }

var mountTable = []mount{
	{"dev", "/dev", "devtmpfs", ""},
	{"proc", "/proc", "proc", ""},
	{"sys", "/sys", "sysfs", ""},
	{"pts", "/dev/pts", "devpts", "mode=620,ptmxmode=666"},
	{"run", "/run", "tmpfs", "mode=755"},
	{"tmp", "/tmp", "tmpfs", "mode=1777,size=90%"},
}

// initProcess is PID 1: it returns, always with a reason, when the serving
// child has ended or could not be started.
func initProcess() error {
	for _, m := range mountTable {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.target, err)
		}
	}
	child, err := syscall.ForkExec("/proc/self/exe", []string{"rig-agent"}, &syscall.ProcAttr{
		Dir: "/",
		Env: []string{
			"PATH=/usr/lib/xen-4.17/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "LANG=C",
		},
		Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	return reapUntil(child)
}

// reapUntil reaps every process that ends, until child has.
func reapUntil(child int) error {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait: %w", err)
		case pid == child:
			return fmt.Errorf("the agent ended (status %#x)", uint32(status))
		}
	}
}
