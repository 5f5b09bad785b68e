package pid1_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	pid1 "xvsock/init"
)

// TestTheRealLoopbackComesUp runs the real function where it harms nobody: in a
// network namespace of its own, where lo is down at first as in a new domain.
func TestTheRealLoopbackComesUp(t *testing.T) {
	if os.Getenv(inNamespace) != "" {
		loopbackForReal(t)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestTheRealLoopbackComesUp$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	}
	var out []byte
	process, err := startShared(cmd, &out)
	if errors.Is(err, unix.EPERM) {
		t.Skipf("no right to make namespaces (%v): run the test as root", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Wait(t.Context()); err != nil || !strings.Contains(string(out), "--- PASS: TestTheRealLoopbackComesUp") {
		t.Errorf("in a namespace: %v\n%s", err, out)
	}
}

func loopbackForReal(t *testing.T) {
	if c, err := net.Dial("udp", "127.0.0.1:9"); err == nil {
		c.Close()
		t.Fatal("there is a way to 127.0.0.1 before lo is up")
	}
	for range 2 { // up already is as good
		if err := pid1.Linux().LoopbackUp(); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
