package pid1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kernel is everything that this package asks of the kernel with an effect
// beyond reading files. The fields are functions so that tests stand in for
// each one; Linux returns the real ones, and none may be nil.
type Kernel struct {
	// Mount is mount(2).
	Mount func(source, target, fstype string, flags uintptr, data string) error
	// Unmount is umount2(2) without flags.
	Unmount func(target string) error
	// Mounted reports whether something is mounted on target.
	Mounted func(target string) bool
	// MakeDir makes a directory and its parents; one that exists is no error.
	MakeDir func(path string) error
	// UseConsole makes the terminal at path the standard input, output and
	// error of this process.
	UseConsole func(path string) error
	// Release is the version of the running kernel, as uname -r prints it.
	Release func() (string, error)
	// LoadModule is finit_module(2) with a file and its parameters.
	LoadModule func(path, params string) error
	// SetHostname is sethostname(2).
	SetHostname func(name string) error
	// SetClock sets CLOCK_REALTIME.
	SetClock func(time.Time) error
	// LoopbackUp brings the loopback interface up, with its own addresses.
	LoopbackUp func() error
	// SignalAll sends a signal to every process but this one.
	SignalAll func(sig unix.Signal) error
	// Sync is sync(2).
	Sync func()
	// Reboot is reboot(2) with a LINUX_REBOOT_CMD value. It returns only when
	// the kernel refused.
	Reboot func(cmd int) error
}

// errNotPID1 keeps a test or a daemon in a distribution from taking its host
// down: what touches the whole machine is PID 1's alone.
var errNotPID1 = errors.New("only PID 1 may do this")

// Linux returns the functions of the running kernel.
func Linux() Kernel {
	return Kernel{
		Mount:       unix.Mount,
		Unmount:     func(target string) error { return unix.Unmount(target, 0) },
		Mounted:     mounted,
		MakeDir:     func(path string) error { return os.MkdirAll(path, 0o755) },
		UseConsole:  useConsole,
		Release:     release,
		LoadModule:  loadModule,
		SetHostname: func(name string) error { return unix.Sethostname([]byte(name)) },
		SetClock:    setClock,
		LoopbackUp:  loopbackUp,
		SignalAll:   signalAll,
		Sync:        unix.Sync,
		Reboot:      reboot,
	}
}

// mounted compares devices and not file system types: the root of a domain is
// often a tmpfs itself, so a plain directory there looks like a mounted tmpfs.
func mounted(target string) bool {
	var here, above unix.Stat_t
	if unix.Stat(target, &here) != nil || unix.Stat(filepath.Join(target, ".."), &above) != nil {
		return false
	}
	return here.Dev != above.Dev
}

func useConsole(path string) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	for std := range 3 {
		if std == fd {
			// The kernel had no console to give, so the slot was free. The
			// three must survive an exec, unlike the rest.
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
				return err
			}
			continue
		}
		if err := unix.Dup3(fd, std, 0); err != nil {
			return err
		}
	}
	if fd > 2 {
		return unix.Close(fd)
	}
	return nil
}

func release() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(name.Release[:]), nil
}

// loadModule leaves decompression to the kernel (5.17 and newer, if built with
// it): the image holds modules uncompressed, so PID 1 carries no decompressor.
func loadModule(path, params string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(path, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	return unix.FinitModule(int(f.Fd()), params, flags)
}

func setClock(t time.Time) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("set the clock: %w", errNotPID1)
	}
	now, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	return unix.ClockSettime(unix.CLOCK_REALTIME, &now)
}

func signalAll(sig unix.Signal) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("signal every process: %w", errNotPID1)
	}
	return unix.Kill(-1, sig)
}

func reboot(cmd int) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("reboot: %w", errNotPID1)
	}
	return unix.Reboot(cmd)
}
