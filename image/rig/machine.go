package rig

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const qemuProgram = "qemu-system-x86_64"

// File names in a machine's working directory. QEMU is given nothing else, so
// no path needs escaping in its options.
const (
	xenFile       = "xen"
	dom0File      = "vmlinux"
	initramfsFile = "dom0.cpio"
)

// machine is a running QEMU. It dies with this process: the kernel kills it
// when the thread that started it ends, and that thread does nothing but wait
// for it.
type machine struct {
	process *os.Process
	control net.Conn
	console io.ReadCloser
	done    chan struct{} // closed when QEMU has ended
	err     error         // how it ended; set before done is closed
}

// qemuArgs gives QEMU's arguments. The CPU is one that a PV dom0 and PVH
// guests both work on under emulation: it has SVM with nested pages, and no
// SMAP, which kills a PV dom0 early. RDRAND gives every kernel its randomness
// at once: without it each of xl's three random numbers takes a second, and a
// guest's first one waits for seconds too.
func qemuArgs(c Config) []string {
	accel := c.Accel
	if accel == "tcg" {
		accel = "tcg,thread=multi"
	}
	return []string{
		"-accel", accel, "-cpu", "qemu64,+svm,+npt,+rdrand", "-smp", strconv.Itoa(c.CPUs), "-m", strconv.Itoa(c.MemoryMB),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=control,fd=3", "-device", "virtserialport,chardev=control,name=rig",
		"-kernel", xenFile, "-append", xenCmdline(c),
		"-initrd", dom0File + " " + dom0Cmdline(c) + "," + initramfsFile,
	}
}

// xenCmdline leaves out what costs time and protects nothing here.
func xenCmdline(c Config) string {
	return strings.TrimSpace(fmt.Sprintf("dom0_mem=%dM,max:%dM console=com1 com1=115200,8n1 "+
		"spec-ctrl=no xpti=no bootscrub=no guest_loglvl=info %s", c.Dom0MemoryMB, c.Dom0MemoryMB, c.XenArgs))
}

// dom0Cmdline too: no crypto self-tests, and a small bounce buffer, whose
// pages a PV dom0 has to exchange one by one.
func dom0Cmdline(c Config) string {
	return strings.TrimSpace("console=hvc0 quiet loglevel=4 panic=1 cryptomgr.notests swiotlb=4096 " +
		"init_on_alloc=0 lsm=capability " + strings.ReplaceAll(c.Dom0Args, ",", ",,"))
}

// startMachine starts QEMU in dir, where the files named above are.
func startMachine(c Config, dir string, stderr io.Writer) (*machine, error) {
	ours, theirs, err := controlPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := exec.Command(qemuProgram, qemuArgs(c)...)
	cmd.Dir = dir
	cmd.Stderr = stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	console, err := cmd.StdoutPipe()
	if err != nil {
		_ = ours.Close()
		return nil, err
	}
	m := &machine{control: ours, console: console, done: make(chan struct{})}
	started := make(chan error)
	go m.run(cmd, started)
	if err := <-started; err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("start %s: %w", qemuProgram, err)
	}
	return m, nil
}

// run starts cmd and waits for it on one thread.
func (m *machine) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	if err != nil {
		started <- err
		return
	}
	m.process = cmd.Process
	started <- nil
	// Process.Wait leaves the console's pipe open: what it still holds is read.
	state, err := cmd.Process.Wait()
	if err == nil {
		err = fmt.Errorf("%s ended: %s", qemuProgram, state)
	}
	m.err = err
	close(m.done)
}

// controlPair gives the two ends of the control channel.
func controlPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make the control channel: %w", err)
	}
	here := os.NewFile(uintptr(fds[0]), "control")
	theirs = os.NewFile(uintptr(fds[1]), "control of qemu")
	ours, err = net.FileConn(here)
	_ = here.Close()
	if err != nil {
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("make the control channel: %w", err)
	}
	return ours, theirs, nil
}

// kill ends QEMU and waits until it is gone.
func (m *machine) kill() {
	if err := m.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return // it cannot be killed: nothing to wait for
	}
	<-m.done
}

// link makes name in dir point to target.
func link(dir, name, target string) error {
	absolute, err := filepath.Abs(target)
	if err != nil {
		return err
	}
	return os.Symlink(absolute, filepath.Join(dir, name))
}
