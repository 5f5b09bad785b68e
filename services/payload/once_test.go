package payload_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"xvsock/services"
	"xvsock/services/payload"
)

// runOnce runs a program for the life of the service, its socket below the
// directory that is returned.
func runOnce(t *testing.T, c payload.Config, args []string) (*host, string) {
	t.Helper()
	c.Name, c.Port, c.Identify, c.Dir = "kv", 5000, identify, t.TempDir()
	return run(t, func(log *slog.Logger) services.Service {
		c.Log = log
		return payload.NewOnce(c, args)
	}), c.Dir
}

// empty fails the test if something is left of a service in its directory.
func empty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}

func TestOneProgramServesAllConnections(t *testing.T) {
	h, dir := runOnce(t, payload.Config{}, program(t, "server"))
	var names []string
	pids := make(map[string]bool)
	for range 3 {
		c := h.dial()
		pid, name, _ := strings.Cut(readLine(t, c), " ")
		pids[pid] = true
		names = append(names, name)
		const size = 2 << 20
		go func() {
			for range size / 32 {
				io.WriteString(c, strings.Repeat("x", 31)+"\n")
			}
			c.CloseWrite()
		}()
		if n, err := io.Copy(io.Discard, c); n != size || err != nil {
			t.Errorf("%d bytes back, %v; want %d and the end", n, err, size)
		}
	}
	if len(pids) != 1 {
		t.Errorf("served by processes %v; want one", pids)
	}
	shape := regexp.MustCompile(`^@xvsock/5/4711/\d+$`)
	for i, name := range names {
		if !shape.MatchString(name) || i > 0 && name == names[i-1] {
			t.Errorf("the program sees %q; want @xvsock/5/4711/SERIAL, each another", names)
		}
	}
	if h.log.count("program says", "serving as kv 5000") != 1 {
		t.Error("what the program says is not in the log")
	}
	h.idle()
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	noChildren(t)
	empty(t, dir)
}

func TestTheSocketIsPrivate(t *testing.T) {
	h, dir := runOnce(t, payload.Config{}, program(t, "server"))
	h.await(services.Serving)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v; want one directory", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v; want 0700", info.Mode(), err)
	}
}

func TestAProgramThatEndsTakesTheServiceDown(t *testing.T) {
	h, dir := runOnce(t, payload.Config{}, program(t, "server"))
	c := h.dial()
	r := bufio.NewReader(c)
	r.ReadString('\n')
	io.WriteString(c, "die\n")
	if got, _ := io.ReadAll(r); string(got) != "dying" {
		t.Errorf("last words %q", got)
	}
	await(t, "the service is started again", func() bool { return h.status().Starts == 2 })
	want := regexp.MustCompile(`^/\S+ ended after \d+(\.\d+)?m?s: exit status 3$`)
	if err := h.status().Err; err == nil || !want.MatchString(err.Error()) {
		t.Errorf("Err = %v; want path, life and status", err)
	}
	if h.log.count("level=WARN", "service ended", "service=kv", "exit status 3", "again_in=") != 1 {
		t.Error("the end is not said")
	}
	readLine(t, h.dial()) // served again
	h.stop()
	noChildren(t)
	empty(t, dir)
}

func TestTheEndLetsAProgramSayItsLastWords(t *testing.T) {
	h, dir := runOnce(t, payload.Config{}, program(t, "server"))
	c := h.dial()
	readLine(t, c)
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	if got := readAll(t, c); got != "last words" {
		t.Errorf("after SIGTERM the peer got %q", got)
	}
	noChildren(t)
	empty(t, dir)
}

func TestAStubbornProgramIsKilledInTime(t *testing.T) {
	h, dir := runOnce(t, payload.Config{}, program(t, "server", "stubborn"))
	readLine(t, h.dial())
	began := time.Now()
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < 2*time.Second || took > 4500*time.Millisecond {
		t.Errorf("the end took %v; want 2 s and the kill", took)
	}
	noChildren(t)
	empty(t, dir)
}

func TestRestartMakesAProgramAnew(t *testing.T) {
	h, _ := runOnce(t, payload.Config{}, program(t, "server"))
	first, _, _ := strings.Cut(readLine(t, h.dial()), " ")
	if err := h.supervisor.Restart("kv"); err != nil {
		t.Fatal(err)
	}
	await(t, "the service is started again", func() bool { return h.status().Starts == 2 && h.state() == services.Serving })
	if second, _, _ := strings.Cut(readLine(t, h.dial()), " "); first == second {
		t.Errorf("still process %s", first)
	}
}

func TestAProgramThatCannotBeRunIsSaid(t *testing.T) {
	for name, args := range map[string][]string{
		"no such file": {"/no/such/program"},
		"a directory":  {"/proc"},
		"not absolute": {"cat"},
	} {
		t.Run(name, func(t *testing.T) {
			h, dir := runOnce(t, payload.Config{}, args)
			await(t, "a second try", func() bool { return h.status().Starts >= 2 })
			if h.state() != services.NotServing {
				t.Errorf("state %s", h.state())
			}
			if n := h.log.count("level=WARN", "service cannot start", "service=kv", args[0], "again_in="); n == 0 || uint64(n) > h.status().Starts {
				t.Errorf("said %d times in %d starts", n, h.status().Starts)
			}
			h.stop()
			empty(t, dir)
		})
	}
}

// There may be no listener for what was prepared.
func TestWhatWasPreparedAndNotServedIsClearedAway(t *testing.T) {
	dir := t.TempDir()
	s := payload.NewOnce(payload.Config{Name: "kv", Port: 5000, Identify: identify, Dir: dir}, program(t, "server"))
	for range 2 {
		if err := s.(services.Preparer).Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("%v, %v; want the socket of one program", entries, err)
		}
	}
	s.(io.Closer).Close()
	noChildren(t)
	empty(t, dir)
}

func TestTrampolineNamesWhatItCannotRun(t *testing.T) {
	for _, args := range [][]string{{payload.TrampolineName}, {payload.TrampolineName, "/no/such/program"}} {
		if err := payload.Trampoline(args, nil); err == nil || !strings.Contains(err.Error(), args[len(args)-1]) {
			t.Errorf("Trampoline(%v) = %v", args, err)
		}
	}
}

func ExampleNewOnce() {
	kv := payload.NewOnce(payload.Config{
		Name:     "kv",
		Port:     5000,
		Identify: identify,
	}, []string{"/kv"})
	fmt.Println(kv.(services.Preparer).Prepare(context.Background()))
	// Output: /kv: no such file; add it with xvsock image build --add
}
