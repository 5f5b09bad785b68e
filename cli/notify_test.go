package cli_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xvsock/sim"
)

// serviceManager listens as a service manager does, and gives what it is told next.
func serviceManager(t *testing.T) (next func() string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	t.Setenv("NOTIFY_SOCKET", socket)
	return func() string {
		t.Helper()
		buf := make([]byte, 4096)
		l.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := l.Read(buf)
		if err != nil {
			t.Fatalf("the service manager is told nothing: %v", err)
		}
		return string(buf[:n])
	}
}

func TestTheServiceManagerIsToldWhenADaemonServesAndWhenItStops(t *testing.T) {
	next := serviceManager(t)
	h := sim.NewTest(t)
	web := h.Create(sim.DomainConfig{Name: "web"})
	dir, err := os.MkdirTemp("", "xvsock") // a short name, for that of the door is longer
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	control := filepath.Join(dir, "control\nREADY=0")
	stop := background(t, xen(web), "domain", "--control", control)

	state := next()
	want := "READY=1\nSTATUS=serving as domain 1, control socket " + strings.ReplaceAll(control, "\n", `\n`)
	if state != want {
		t.Errorf("it is told %q, want %q", state, want)
	}
	if r := run(t, "status", "--control", control); r.code != 0 {
		t.Errorf("a daemon that is ready does not answer: %+v", r)
	}
	go stop()
	if state := next(); state != "STOPPING=1\nSTATUS=ending connections and links" {
		t.Errorf("at the end it is told %q", state)
	}
	if r := stop(); r.code != 0 || strings.Contains(r.stderr, "level=WARN") {
		t.Errorf("the daemon ends with %d:\n%s", r.code, r.stderr)
	}
}

func TestADaemonServesThoughNobodyCanBeTold(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	h := sim.NewTest(t)
	control := filepath.Join(t.TempDir(), "control")
	stop := background(t, xen(h.Create(sim.DomainConfig{Name: "web"})), "domain", "--control", control)
	until(t, nowhere(), "frontend", "status", "--control", control)
	if r := stop(); r.code != 0 || !strings.Contains(r.stderr, "tell the service manager") {
		t.Errorf("the daemon ends with %d:\n%s", r.code, r.stderr)
	}
}
