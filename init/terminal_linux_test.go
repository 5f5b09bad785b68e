package pid1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/config"
	pid1 "xvsock/init"
)

// asDying is set in the copy of the test that is the first process of a
// namespace and cannot go on; its value is the directory that stands for /.
const asDying = "PID1_TEST_AS_DYING"

// TestTheShellOfTheFirstProcess is a person at the console of a domain that
// cannot go on: the shell is theirs with all its keys, and at its end the domain
// powers off, which in a namespace is SIGINT.
func TestTheShellOfTheFirstProcess(t *testing.T) {
	if dir := os.Getenv(asDying); dir != "" {
		die(t, dir)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	person, terminal := openTerminal(t)
	dir := t.TempDir()
	write(t, dir, map[string]string{"proc/mounts": "", "bin/x": "", "dev/x": ""})
	if err := errors.Join(os.Symlink("/bin/sh", dir+"/bin/sh"), os.Symlink(terminal, dir+"/dev/console")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestTheShellOfTheFirstProcess$", "-test.v")
	cmd.Env = append(os.Environ(), asDying+"="+dir, "PS1=> ", "ENV=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
	}
	var out []byte
	first, err := startShared(cmd, &out)
	if errors.Is(err, unix.EPERM) {
		t.Skipf("no right to make namespaces (%v): run the test as root", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(person); in.Scan(); {
			lines <- in.Text()
		}
	}()
	// What is typed is echoed, so that what is waited for is spelt otherwise.
	for _, step := range []struct{ typed, want string }{
		{": </dev/tty && echo contr''olling\n", "controlling"},
		{"sh -c 'echo slee''ping; exec sleep 1000'\n", "sleeping"},
		{"\x03echo a''wake\n", "awake"},
	} {
		if _, err := person.WriteString(step.typed); err != nil {
			t.Fatal(err)
		}
		await(t, lines, step.want)
	}
	if _, err := person.WriteString("exit\n"); err != nil {
		t.Fatal(err)
	}
	go func() {
		for range lines {
		}
	}()
	err = first.Wait(within(t))
	if got := text(err); got != "killed by SIGINT" {
		t.Errorf("the namespace ended with %q; want killed by SIGINT, which is its power-off\n%s", got, out)
	}
	for _, want := range []string{"fatal: broken; xvsock.panic=shell", "a shell on the console; the domain powers off when it ends",
		"the shell has ended", "stopping (halt)"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("output %q; want %q in it", out, want)
		}
	}
}

// await reads lines up to one that is want, behind a prompt or not.
func await(t *testing.T, lines <-chan string, want string) {
	t.Helper()
	for limit := within(t); ; {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("the terminal ended before %q", want)
			}
			if strings.HasSuffix(strings.TrimSpace(line), want) && !strings.Contains(line, "echo") {
				return
			}
		case <-limit.Done():
			t.Fatalf("the terminal does not say %q", want)
		}
	}
}

// openTerminal returns the side of a new terminal that a person is at, and the
// path of the other.
func openTerminal(t *testing.T) (person *os.File, path string) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	person = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { person.Close() })
	return person, fmt.Sprintf("/dev/pts/%d", n)
}

// die is PID 1's main.
func die(t *testing.T, dir string) {
	ctx := context.Background()
	reaper := pid1.NewReaper()
	in := pid1.New(pid1.Options{
		Kernel: pid1.Linux(), Console: pid1.NewConsole(os.Stdout), Start: time.Now(), Root: dir, Reaper: reaper,
	})
	// Nobody but the shell's own keeper waits for programs here, as when the
	// goroutine that does so has failed.
	in.OnFatal(config.Shell)
	in.Fatal(ctx, errors.New("broken"))
	t.Fatal("Fatal() returned")
}
