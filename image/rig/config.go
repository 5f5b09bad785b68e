package rig

import (
	"os"
	"time"
)

// Config is what a host is booted with. The zero value is a good host.
type Config struct {
	// MemoryMB is the machine's memory and Dom0MemoryMB what of it is dom0's;
	// 0 means 2048 and 768. Files that are sent lie in dom0's memory.
	MemoryMB, Dom0MemoryMB int
	// CPUs is how many the machine has; 0 means 2. Dom0 sees all of them.
	CPUs int
	// XenArgs and Dom0Args are added to the command lines of Xen and dom0.
	XenArgs, Dom0Args string
	// Files maps absolute paths in dom0 to files here that the initramfs
	// shall hold. Host.Send adds files later.
	Files map[string]string
	// Dom0Modules names modules to load in dom0 besides Xen's own, for
	// example vhost_vsock. Dependencies are found.
	Dom0Modules []string
	// Setup is run in dom0 after the toolstack's daemons have started and
	// before the host counts as booted.
	Setup [][]string
	// OCamlXenstored starts oxenstored instead of the C xenstored.
	OCamlXenstored bool
	// LogDir is where logs are kept; Boot chooses one, Start needs one.
	LogDir string
	// BootTimeout bounds the time from the start of QEMU until dom0 is ready;
	// 0 means 4 minutes: it takes 5 s on an idle machine, and ten times that
	// on one that is busy.
	BootTimeout time.Duration
	// StepTimeout bounds each step of a Scenario; 0 means 2 minutes.
	StepTimeout time.Duration
	// Accel is QEMU's accelerator; empty means $XVSOCK_RIG_ACCEL, or tcg,
	// which works everywhere. Xen in kvm needs nested virtualisation.
	Accel string
}

func (c Config) withDefaults() Config {
	for _, number := range []struct {
		at    *int
		value int
	}{{&c.MemoryMB, 2048}, {&c.Dom0MemoryMB, 768}, {&c.CPUs, 2}} {
		if *number.at == 0 {
			*number.at = number.value
		}
	}
	for _, timeout := range []struct {
		at    *time.Duration
		value time.Duration
	}{{&c.BootTimeout, 4 * time.Minute}, {&c.StepTimeout, 2 * time.Minute}} {
		if *timeout.at == 0 {
			*timeout.at = timeout.value
		}
	}
	if c.Accel == "" {
		c.Accel = os.Getenv("XVSOCK_RIG_ACCEL")
	}
	if c.Accel == "" {
		c.Accel = "tcg"
	}
	return c
}

func (c Config) xenstored() string {
	if c.OCamlXenstored {
		return "oxenstored"
	}
	return "xenstored"
}

// xenstoredCommand starts the xenstored, which puts itself into the background.
func (c Config) xenstoredCommand() []string {
	return []string{"/" + toolsDir + "/" + c.xenstored(), "--pid-file", "/run/xen/xenstored.pid"}
}
