package main

import (
	"bufio"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"xvsock/image/rig/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rigEnd is the rig's end of a channel to an agent in this process.
type rigEnd struct {
	t     *testing.T
	agent *agent
	in    *bufio.Reader
	out   *wire.Writer
}

func newRigEnd(t *testing.T) rigEnd {
	t.Helper()
	here, there := net.Pipe()
	if err := here.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	a := newAgent(wire.NewWriter(there))
	done := make(chan error, 1)
	go func() { done <- a.run(there) }()
	t.Cleanup(func() {
		_ = here.Close()
		if err := <-done; err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	})
	return rigEnd{t: t, agent: a, in: bufio.NewReader(here), out: wire.NewWriter(here)}
}

func (r rigEnd) send(id uint32, kind wire.Kind, v any) {
	r.t.Helper()
	if err := r.out.WriteJSON(id, kind, v); err != nil {
		r.t.Fatal(err)
	}
}

// until reads frames of one stream until one of that kind, and gives what was
// printed before.
func (r rigEnd) until(id uint32, kind wire.Kind) (f wire.Frame, printed string) {
	r.t.Helper()
	for {
		f, err := wire.Read(r.in)
		if err != nil {
			r.t.Fatal(err)
		}
		if f.Stream != id {
			r.t.Fatalf("a frame of stream %d, want %d", f.Stream, id)
		}
		if f.Kind == kind {
			return f, printed
		}
		printed += string(f.Payload)
	}
}

// started reads the frame that must be a command's first.
func (r rigEnd) started(id uint32) {
	r.t.Helper()
	f, err := wire.Read(r.in)
	if err != nil {
		r.t.Fatal(err)
	}
	var s wire.Started
	if f.Stream != id || f.Kind != wire.KindStarted || f.Decode(&s) != nil || s.PID <= 0 {
		r.t.Fatalf("the first frame of command %d is of stream %d, kind %d: %q", id, f.Stream, f.Kind, f.Payload)
	}
}

func (r rigEnd) exit(id uint32) (wire.Exit, string) {
	r.t.Helper()
	f, printed := r.until(id, wire.KindExit)
	var e wire.Exit
	if err := f.Decode(&e); err != nil {
		r.t.Fatal(err)
	}
	return e, printed
}

func TestCommands(t *testing.T) {
	r := newRigEnd(t)
	sh := func(script string) wire.Exec {
		return wire.Exec{Args: []string{"/bin/sh", "-c", script}, Env: []string{"WORD=env"}}
	}

	r.send(1, wire.KindExec, sh("echo $WORD; exit 4"))
	r.started(1)
	if e, out := r.exit(1); e.Code != 4 || out != "env\n" {
		t.Errorf("exit %+v, printed %q", e, out)
	}

	r.send(2, wire.KindExec, sh("cat"))
	r.started(2)
	for _, text := range []string{"some ", "input", ""} {
		if err := r.out.Write(2, wire.KindStdin, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if e, out := r.exit(2); e.Code != 0 || out != "some input" {
		t.Errorf("exit %+v, printed %q", e, out)
	}

	r.send(3, wire.KindExec, sh("echo up; sleep 60 & wait"))
	r.started(3)
	if f, _ := r.until(3, wire.KindStdout); string(f.Payload) != "up\n" {
		t.Errorf("printed %q", f.Payload)
	}
	r.send(3, wire.KindSignal, wire.Signal{Number: int(unix.SIGTERM), Group: true})
	if e, _ := r.exit(3); e.Code != 128+int(unix.SIGTERM) {
		t.Errorf("exit %+v, want that of SIGTERM", e)
	}
	// One for a command that is over reaches nobody.
	r.send(3, wire.KindSignal, wire.Signal{Number: int(unix.SIGKILL)})

	r.send(4, wire.KindExec, wire.Exec{Args: []string{"/nothing"}})
	if e, _ := r.exit(4); e.Code != 127 || !strings.Contains(e.Error, "/nothing") {
		t.Errorf("exit %+v of a program that does not exist", e)
	}
}

// The agent is held up between the command's start and Started until the command
// has printed and ended.
func TestStartedComesBeforeAllOutput(t *testing.T) {
	r := newRigEnd(t)
	printed := filepath.Join(t.TempDir(), "printed")
	r.agent.mu.Lock()
	r.send(1, wire.KindExec, wire.Exec{Args: []string{"/bin/sh", "-c", "echo out; echo err >&2; : >" + printed}})
	for _, err := os.Stat(printed); err != nil; _, err = os.Stat(printed) {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // for the output to come as far as it does
	r.agent.mu.Unlock()
	r.started(1)
	if e, out := r.exit(1); e.Code != 0 || len(out) != len("out\nerr\n") {
		t.Errorf("exit %+v, printed %q", e, out)
	}
}

func TestAnOrphanDoesNotHoldACommand(t *testing.T) {
	r := newRigEnd(t)
	begin := time.Now()
	r.send(1, wire.KindExec, wire.Exec{Args: []string{"/bin/sh", "-c", "sleep 20 & echo $!"}})
	r.started(1)
	e, out := r.exit(1)
	if e.Code != 0 || time.Since(begin) > 10*time.Second {
		t.Errorf("exit %+v after %v", e, time.Since(begin))
	}
	orphan, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(orphan, unix.SIGKILL); err != nil {
		t.Errorf("the orphan was not left alone: %v", err)
	}
}

func TestFiles(t *testing.T) {
	r := newRigEnd(t)
	dir := t.TempDir()
	name := filepath.Join(dir, "deep/file")
	r.send(1, wire.KindPut, wire.Put{Path: name, Mode: 0o751})
	for _, text := range []string{"one ", "two", ""} {
		if err := r.out.Write(1, wire.KindData, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if e, _ := r.exit(1); e != (wire.Exit{}) {
		t.Errorf("exit %+v", e)
	}
	data, err := os.ReadFile(name)
	if err != nil || string(data) != "one two" {
		t.Errorf("the file has %q, %v", data, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o751 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}

	r.send(2, wire.KindPut, wire.Put{Path: filepath.Join(name, "below a file"), Mode: 0o600})
	if err := r.out.Write(2, wire.KindData, nil); err != nil {
		t.Fatal(err)
	}
	if e, _ := r.exit(2); e.Code == 0 || e.Error == "" {
		t.Errorf("exit %+v of a file that cannot be", e)
	}
}

func TestConsolesAreFollowed(t *testing.T) {
	dir := t.TempDir()
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	f := follower{dir: dir, out: wire.NewWriter(there), at: make(map[string]int64)}
	read := func(want string) {
		t.Helper()
		frame, err := wire.Read(here)
		if err != nil {
			t.Fatal(err)
		}
		var c wire.Console
		if err := frame.Decode(&c); err != nil || c.Guest != "web" || string(c.Text) != want {
			t.Errorf("got %q of %q, %v, want %q", c.Text, c.Guest, err, want)
		}
	}
	log := filepath.Join(dir, "guest-web.log")
	for _, text := range []string{"first\n", "second\n"} {
		file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		told := make(chan error, 1)
		go func() { told <- f.tell("guest-web.log") }()
		read(text)
		if err := <-told; err != nil {
			t.Error(err)
		}
	}
	if err := f.tell("hypervisor.log"); err != nil {
		t.Errorf("a file that is no guest's: %v", err)
	}
}

func TestChangedNames(t *testing.T) {
	event := func(name string, padded int) []byte {
		b := make([]byte, 16+padded)
		binary.NativeEndian.PutUint32(b[12:], uint32(padded))
		copy(b[16:], name)
		return b
	}
	events := slices.Concat(event("guest-a.log", 16), event("guest-b.log", 16), event("guest-a.log", 16), event("", 0))
	if got := changedNames(events); !slices.Equal(got, []string{"guest-a.log", "guest-b.log", ""}) {
		t.Errorf("changedNames = %q", got)
	}
	if got := changedNames(events[:40]); !slices.Equal(got, []string{"guest-a.log"}) {
		t.Errorf("changedNames of a cut buffer = %q", got)
	}
}
