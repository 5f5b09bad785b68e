package pid1_test

import (
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

	pid1 "xvsock/init"
)

// asPID1 is set in the copy of the test that is the first process of a
// namespace; its value is a directory for it.
const asPID1 = "PID1_TEST_AS_PID1"

// TestAsTheFirstProcess runs a whole life for real: boot, an orphan, SIGTERM from
// outside, orderly stop, reboot(2). In a pid namespace of its own the kernel
// turns that into the end of the namespace, by SIGINT for a power-off.
func TestAsTheFirstProcess(t *testing.T) {
	if dir := os.Getenv(asPID1); dir != "" {
		live(t, dir)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{"proc/mounts": ""})
	cmd := exec.Command(self, "-test.run=^TestAsTheFirstProcess$", "-test.v")
	cmd.Env = append(os.Environ(), asPID1+"="+dir)
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
	for limit := within(t); limit.Err() == nil; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(dir + "/ready"); err == nil {
			break
		}
	}
	if err := first.p.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	err = first.Wait(within(t))
	if got := text(err); got != "killed by SIGINT" {
		t.Errorf("the namespace ended with %q; want killed by SIGINT, which is its power-off\n%s", got, out)
	}
	for _, want := range []string{"xvsock: ready in ", "xvsock: stopping (halt)", "stop payload", "xvsock: stopped (halt) after "} {
		if !strings.Contains(string(out), want) {
			t.Errorf("output %q; want %q in it", out, want)
		}
	}
}

// live is PID 1's main.
func live(t *testing.T, dir string) {
	ctx := context.Background()
	console, reaper := pid1.NewConsole(os.Stdout), pid1.NewReaper()
	in := pid1.New(pid1.Options{Kernel: pid1.Linux(), Console: console, Start: time.Now(), Root: dir, Reaper: reaper})
	defer in.Guard()
	in.Go(ctx, reaper.Run)
	ended := make(chan error)
	go pid1.Signals(ctx, func(how pid1.How) { go func() { ended <- in.Shutdown(ctx, how) }() })
	err := in.Boot(ctx, []pid1.Step{{Name: "payload",
		Run: func(context.Context) error {
			// The shell leaves an orphan that hears no SIGTERM, and ends once
			// that is so.
			p, err := reaper.Start(exec.Command("/bin/sh", "-c",
				"(trap '' TERM; : >"+dir+"/deaf; sleep 1000) & until [ -e "+dir+"/deaf ]; do :; done"))
			if err != nil {
				return err
			}
			return p.Wait(ctx)
		},
		Stop: func(context.Context) error { fmt.Fprintln(console, "stop payload"); return nil },
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/ready", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Fatal(<-ended) // the kernel refused
}
