package pid1_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	pid1 "xvsock/init"
)

func TestMountsAreMadeInOrder(t *testing.T) {
	m := &machine{}
	if err := pid1.MountStep(m.kernel(), pid1.Mounts()).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"mkdir /proc", "mount proc /proc ", "mkdir /sys", "mount sysfs /sys ",
		"mkdir /dev", "mount devtmpfs /dev mode=0755",
		"mkdir /run", "mount tmpfs /run mode=0755,size=25%", "mkdir /tmp", "mount tmpfs /tmp mode=1777,size=25%",
	}
	if got := m.took(); !slices.Equal(got, want) {
		t.Errorf("the machine saw %q; want %q", got, want)
	}
}

func TestNothingOfTheMountsRunsSetuidAndOnlyDevHasDevices(t *testing.T) {
	for _, m := range pid1.Mounts() {
		if m.Flags&unix.MS_NOSUID == 0 {
			t.Errorf("%s honours setuid files", m)
		}
		if (m.Flags&unix.MS_NODEV == 0) != (m.Target == "/dev") {
			t.Errorf("%s: devices allowed = %v", m, m.Flags&unix.MS_NODEV == 0)
		}
	}
}

func TestMountFailures(t *testing.T) {
	for _, tt := range []struct {
		name    string
		err     error
		mounted bool
		want    string
	}{
		{"something mounted there is left alone", unix.EIO, true, ""},
		{"busy means that it is mounted already", unix.EBUSY, false, ""},
		{"an unknown file system names the kernel option", unix.ENODEV, false,
			"mount of devtmpfs on /dev: no such device; use a kernel built with CONFIG_DEVTMPFS"},
		{"another error is said as it is", unix.EIO, false, "mount of devtmpfs on /dev: input/output error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := (&machine{}).kernel()
			k.Mounted = func(string) bool { return tt.mounted }
			k.Mount = func(string, string, string, uintptr, string) error { return tt.err }
			err := pid1.MountStep(k, pid1.Mounts()[2:3]).Run(t.Context())
			if got := text(err); got != tt.want {
				t.Errorf("Run() = %q; want %q", got, tt.want)
			}
		})
	}
}

func TestEveryMountThatFailsIsNamedOnOneLine(t *testing.T) {
	k := (&machine{}).kernel()
	k.MakeDir = func(path string) error { return &os.PathError{Op: "mkdir", Path: path, Err: unix.EROFS} }
	got := text(pid1.MountStep(k, pid1.Mounts()).Run(t.Context()))
	for _, m := range pid1.Mounts() {
		if !strings.Contains(got, m.String()) {
			t.Errorf("Run() = %q; want %s in it", got, m)
		}
	}
	if strings.Contains(got, "\n") {
		t.Errorf("Run() = %q; want one line", got)
	}
}

func TestConsoleFallsBackToTheKernelLog(t *testing.T) {
	for _, tt := range []struct {
		name   string
		broken []string
		used   string
		want   string
	}{
		{"the console is there", nil, "/dev/console", ""},
		{"no console", []string{"/dev/console"}, "/dev/kmsg", ""},
		{"neither", []string{"/dev/console", "/dev/kmsg"}, "",
			"/dev/console: no such device; name one on the kernel command line, e.g. console=hvc0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := (&machine{}).kernel()
			used := ""
			k.UseConsole = func(path string) error {
				if slices.Contains(tt.broken, path) {
					return unix.ENODEV
				}
				used = path
				return nil
			}
			err := pid1.ConsoleStep(k).Run(t.Context())
			if used != tt.used || text(err) != tt.want {
				t.Errorf("used %q, error %q; want %q, %q", used, text(err), tt.used, tt.want)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// inNamespace is set in the copy of the test that runs as PID 1 of namespaces
// of its own.
const inNamespace = "PID1_TEST_IN_NAMESPACE"

// TestTheRealKernelMounts runs the real functions where they harm nobody: in
// new mount and pid namespaces, in a root directory of their own. It needs no
// privilege where the kernel gives user namespaces to everyone.
func TestTheRealKernelMounts(t *testing.T) {
	if os.Getenv(inNamespace) != "" {
		mountForReal(t)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestTheRealKernelMounts$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	var out []byte
	process, err := startShared(cmd, &out)
	if errors.Is(err, unix.EPERM) {
		t.Skipf("no right to make namespaces (%v): run the test as root", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Wait(t.Context()); err != nil || !strings.Contains(string(out), "--- PASS: TestTheRealKernelMounts") {
		t.Errorf("in namespaces: %v\n%s", err, out)
	}
}

func mountForReal(t *testing.T) {
	dir := os.Getenv(inNamespace)
	// Nothing mounted from here on is seen outside.
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	k := pid1.Linux()
	table := []pid1.Mount{{Type: "tmpfs", Target: dir + "/run", Options: "mode=0755"}, {Type: "nosuchfs", Target: dir + "/x", Needs: "CONFIG_X"}}
	for range 2 { // the second time finds it mounted
		if err := table[0].Create(k); err != nil {
			t.Fatal(err)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(mounts), fmt.Sprintf("tmpfs %s/run tmpfs", dir)); n != 1 || !k.Mounted(dir+"/run") || k.Mounted(dir) {
		t.Errorf("mounted %d times; want once", n)
	}
	if got := text(table[1].Create(k)); !strings.HasSuffix(got, "; use a kernel built with CONFIG_X") {
		t.Errorf("Create() = %q; want the fix", got)
	}
	for _, m := range pid1.Surroundings() {
		m.Target = dir + m.Target
		if err := m.Create(k); err != nil || !k.Mounted(m.Target) {
			t.Errorf("Create() = %v; want %s", err, m)
		}
	}
	if err := k.Unmount(dir + "/run"); err != nil || k.Mounted(dir+"/run") {
		t.Errorf("Unmount() = %v, still mounted %v", err, k.Mounted(dir+"/run"))
	}
}

// TestTheRealConsoleTakesAllThreeDescriptors gives a file for a console, and
// puts the test's own descriptors back before it says anything.
func TestTheRealConsoleTakesAllThreeDescriptors(t *testing.T) {
	path := t.TempDir() + "/console"
	if err := os.WriteFile(path, []byte("input\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var kept [3]int
	for fd := range kept {
		var err error
		if kept[fd], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	used := pid1.Linux().UseConsole(path)
	input := make([]byte, 6)
	_, readErr := unix.Read(0, input)
	_, outErr := unix.Write(1, []byte("out\n"))
	_, errErr := unix.Write(2, []byte("err\n"))
	flags, flagsErr := unix.FcntlInt(1, unix.F_GETFD, 0)
	for fd, old := range kept {
		if err := errors.Join(unix.Dup3(old, fd, 0), unix.Close(old)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(used, readErr, outErr, errErr, flagsErr); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(path)
	if string(input) != "input\n" || string(text) != "input\nout\nerr\n" {
		t.Errorf("read %q, the console holds %q", input, text)
	}
	if flags&unix.FD_CLOEXEC != 0 {
		t.Error("programs would start without a standard output")
	}
	after, _ := os.ReadDir("/proc/self/fd")
	if len(after) != len(before)-len(kept) {
		t.Errorf("%d descriptors before, %d after, %d of them given back", len(before), len(after), len(kept))
	}
}
