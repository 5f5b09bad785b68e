package pid1

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Mount is one file system that PID 1 mounts before anything else.
type Mount struct {
	Type    string  // file system type, also given as the source
	Target  string  // where; made if it is not there
	Flags   uintptr // MS_ values
	Options string  // what mount(2) calls data
	Needs   string  // the kernel option without which it cannot be mounted
	// Optional says that a kernel without that option is no fault.
	Optional bool
}

// Mounts returns the file systems of a service domain, in order. It is all that
// the binary needs; the initramfs may be empty but for the binary. The tmpfs are
// bounded, since their pages and the daemon's come out of the same few
// megabytes.
func Mounts() []Mount {
	const bare = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	return []Mount{
		{Type: "proc", Target: "/proc", Flags: bare, Needs: "CONFIG_PROC_FS"},
		{Type: "sysfs", Target: "/sys", Flags: bare, Needs: "CONFIG_SYSFS"},
		{Type: "devtmpfs", Target: "/dev", Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Options: "mode=0755", Needs: "CONFIG_DEVTMPFS"},
		{Type: "tmpfs", Target: "/run", Flags: unix.MS_NOSUID | unix.MS_NODEV, Options: "mode=0755,size=25%", Needs: "CONFIG_TMPFS"},
		{Type: "tmpfs", Target: "/tmp", Flags: unix.MS_NOSUID | unix.MS_NODEV, Options: "mode=1777,size=25%", Needs: "CONFIG_TMPFS"},
	}
}

// String says what is mounted where.
func (m Mount) String() string { return fmt.Sprintf("mount of %s on %s", m.Type, m.Target) }

// Create mounts m. A target that has something mounted already is left as it
// is: the kernel or the image has its reasons. Other failures are a *Fault.
func (m Mount) Create(k Kernel) error {
	if k.Mounted(m.Target) {
		return nil
	}
	if err := k.MakeDir(m.Target); err != nil {
		return &Fault{Thing: m.String(), Err: fmt.Errorf("make the directory: %w", err)}
	}
	err := k.Mount(m.Type, m.Target, m.Type, m.Flags, m.Options)
	switch {
	case err == nil, errors.Is(err, unix.EBUSY):
		return nil
	case errors.Is(err, unix.ENODEV) && m.Optional:
		return nil
	case errors.Is(err, unix.ENODEV):
		return &Fault{m.String(), err, "use a kernel built with " + m.Needs}
	default:
		return &Fault{Thing: m.String(), Err: err}
	}
}

// MountStep returns the step "mounts". Every mount is tried, and the error names
// each that failed.
func MountStep(k Kernel, table []Mount) Step {
	return Step{Name: "mounts", Run: func(context.Context) error { return mountAll(k, table) }}
}

func mountAll(k Kernel, table []Mount) error {
	var failed []error
	for _, m := range table {
		if err := m.Create(k); err != nil {
			failed = append(failed, err)
		}
	}
	return joined(failed)
}

// joined is errors.Join on one line.
func joined(errs []error) error {
	if len(errs) < 2 {
		return errors.Join(errs...)
	}
	return fmt.Errorf("%w; %w", errs[0], joined(errs[1:]))
}

// ConsoleStep returns the step "console", which makes /dev/console the standard
// input, output and error. The kernel does so itself only if the initramfs
// holds that node. A domain without a console gets its lines into the kernel's
// log, and one without that runs silently: neither is worth a domain.
func ConsoleStep(k Kernel) Step {
	return Step{Name: "console", Optional: true, Run: func(context.Context) error {
		err := k.UseConsole("/dev/console")
		if err == nil {
			return nil
		}
		if k.UseConsole("/dev/kmsg") == nil {
			return nil
		}
		return &Fault{"/dev/console", err, "name one on the kernel command line, e.g. console=hvc0"}
	}}
}
