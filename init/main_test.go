package pid1_test

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	pid1 "xvsock/init"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine is a kernel that notes what it was asked, in order.
type machine struct {
	mu    sync.Mutex
	calls []string
}

func (m *machine) note(words ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, strings.Join(words, " "))
}

func (m *machine) took() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.calls...)
}

// kernel returns functions that all succeed; tests replace the ones they are
// about.
func (m *machine) kernel() pid1.Kernel {
	return pid1.Kernel{
		Mount: func(source, target, fstype string, flags uintptr, data string) error {
			m.note("mount", fstype, target, data)
			return nil
		},
		Unmount:    func(target string) error { m.note("unmount", target); return nil },
		Mounted:    func(string) bool { return false },
		MakeDir:    func(path string) error { m.note("mkdir", path); return nil },
		UseConsole: func(path string) error { m.note("console", path); return nil },
		Release:    func() (string, error) { return "6.1.0-test", nil },
		LoadModule: func(path, params string) error {
			m.note("load", path, params)
			return nil
		},
		SetHostname: func(name string) error { m.note("hostname", name); return nil },
		SetClock:    func(t time.Time) error { m.note("set clock", t.UTC().Format(time.RFC3339Nano)); return nil },
		LoopbackUp:  func() error { m.note("loopback up"); return nil },
		SignalAll:   func(sig unix.Signal) error { m.note("signal all", unix.SignalName(sig)); return nil },
		Sync:        func() { m.note("sync") },
		Reboot: func(cmd int) error {
			switch cmd {
			case unix.LINUX_REBOOT_CMD_POWER_OFF:
				m.note("power off")
			case unix.LINUX_REBOOT_CMD_RESTART:
				m.note("restart")
			default:
				m.note("reboot(2) with a wrong command")
			}
			return nil
		},
	}
}

// console collects lines.
type console struct {
	mu   sync.Mutex
	text strings.Builder
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

func (c *console) lines() []string {
	return strings.Split(strings.TrimSuffix(c.String(), "\n"), "\n")
}

// write makes files below dir, with their folders.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := dir + "/" + name
		if err := os.MkdirAll(path[:strings.LastIndex(path, "/")], 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func ok(context.Context) error { return nil }
