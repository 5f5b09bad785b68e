package cli_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xvsock/sim"
)

// The commands through the doors of two daemons, over a link between two domains.
func TestConnectionsOfTwoDomainsByCommands(t *testing.T) {
	h := sim.NewTest(t)
	dir := t.TempDir()
	control := func(name string) string {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name, "control")
	}
	dom0, web := h.Domain(0), h.Create(sim.DomainConfig{Name: "web"})
	back, front := control("back"), control("front")
	rules := filepath.Join(dir, "back", "10-test.policy")
	if err := os.WriteFile(rules, []byte("echo @backend web allow\n7000 @backend web allow\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	background(t, xen(dom0), "backend", "--control", back, "--policy", filepath.Dir(rules))
	stopFront := background(t, xen(web), "domain", "--service", "echo", "--control", front)
	if r := runOn(t.Context(), xen(dom0), "attach", "web"); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	until(t, nowhere(), "echo", "services", "--control", back)

	for address, want := range map[string]struct {
		code int
		text string
	}{
		"web:echo": {0, "connected to web:echo\n"}, "1:7": {0, ""}, "self:discovery": {0, ""}, "0x7FF1:2": {0, ""},
		"web:23": {126, "connect to web:23: "}, "web:7000": {1, "connect to web:7000: connection refused\n"},
		"nobody:7": {1, "connect to nobody:7: "}, "self:99": {1, "connection refused"},
	} {
		if r := run(t, "connect", "-z", "-v", address, "--control", back); r.code != want.code || !strings.Contains(r.stderr, want.text) {
			t.Errorf("%s: %+v, want %+v", address, r, want)
		}
	}
	through(t, start(t, "connect", "web:echo", "--control", back), "hello")

	s := start(t, "listen", "7000", "--control", front, "-v", "--fork", "--", "cat")
	s.line()
	if r := run(t, "listen", "7000", "--control", front); r.code != 125 || !strings.Contains(r.stderr, "another program, or a service, has it") {
		t.Errorf("a second listener: %+v", r)
	}
	socket := filepath.Join(dir, "web.sock")
	p, _ := startProxy(t, "--control", back, "unix:"+socket, "xvsock:web:7000")
	for range 5 {
		exchange(t, dial(t, "unix", socket))
	}

	stopFront()
	if l := s.line(); !strings.Contains(l, "listener lost") {
		t.Errorf("it says %q", l)
	}
	background(t, xen(web), "domain", "--service", "echo", "--control", front)
	for l := ""; !strings.Contains(l, "listening again"); l = s.line() {
	}
	until(t, nowhere(), "", "connect", "-z", "web:7000", "--control", back)
	exchange(t, dial(t, "unix", socket))
	p.ends()
}

// through sends words and checks that they come back.
func through(t *testing.T, s *started, words string) {
	t.Helper()
	io.WriteString(s.stdin, words)
	s.stdin.Close()
	if r := s.end(); r != (result{0, words, ""}) {
		t.Errorf("%+v", r)
	}
}
