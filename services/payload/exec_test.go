package payload_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/services"
	"xvsock/services/payload"
)

// runExec runs a program a connection.
func runExec(t *testing.T, c payload.Config, args []string) *host {
	t.Helper()
	c.Name, c.Port, c.Identify = "kv", 5000, identify
	return run(t, func(log *slog.Logger) services.Service {
		c.Log = log
		return payload.NewExec(c, args)
	})
}

func TestAProgramIsItsConnection(t *testing.T) {
	h := runExec(t, payload.Config{}, program(t, "cat"))
	c := h.dial()
	const size = 3<<20 + 1
	go func() {
		c.Write(make([]byte, size))
		c.CloseWrite()
	}()
	if n, err := io.Copy(io.Discard, c); n != size || err != nil {
		t.Errorf("%d bytes back, %v; want %d and the end", n, err, size)
	}
	h.idle()
	noChildren(t)
	if st := h.status(); st.Served != 1 || st.Refused != 0 {
		t.Errorf("Status = %+v; want one connection served", st)
	}
}

func TestThePeersHalfCloseReachesTheProgram(t *testing.T) {
	c := runExec(t, payload.Config{}, program(t, "count")).dial()
	io.WriteString(c, "12345")
	c.CloseWrite()
	if got := readAll(t, c); got != "5" {
		t.Errorf("the program said %q after its input's end; want 5", got)
	}
}

func TestTheProgramsHalfCloseReachesThePeer(t *testing.T) {
	h := runExec(t, payload.Config{}, program(t, "hello"))
	c := h.dial()
	if got := readAll(t, c); got != "hello" {
		t.Errorf("got %q", got)
	}
	io.WriteString(c, "after the end")
	c.CloseWrite()
	await(t, "the program reads on", func() bool { return h.log.count("read 13") == 1 })
	h.idle()
}

func TestWhatAProgramDoesNotReadIsDropped(t *testing.T) {
	h := runExec(t, payload.Config{}, program(t, "blind"))
	c := h.dial()
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(make([]byte, 8<<20)); err != nil {
		t.Errorf("the peer cannot write: %v", err)
	}
	reset(c)
	h.idle() // the reset is seen all the same
	noChildren(t)
}

func TestTheEnvironmentSaysWhoIsCalling(t *testing.T) {
	for name, value := range map[string]string{"SECRET": "of the daemon", "PATH": "/bin:/opt/bin", "HOME": "/", "TERM": "linux"} {
		t.Setenv(name, value)
	}
	got := readAll(t, runExec(t, payload.Config{}, program(t, "env")).dial())
	want := `HOME=/
PATH=/bin:/opt/bin
TERM=linux
XVSOCK_PEER_CID=5
XVSOCK_PEER_NAME=web
XVSOCK_PEER_PORT=4711
XVSOCK_PEER_UUID=6a2e
XVSOCK_PORT=5000
XVSOCK_SERVICE=kv
dir / ids ` + fmt.Sprintf("%d %d []\n", os.Getuid(), os.Getgid())
	if os.Getuid() == 0 && got != want {
		t.Errorf("environment:\n%s\nwant\n%s", got, want)
	}
}

func TestProgramsRunAsTheirUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not root")
	}
	groups, err := syscall.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setgroups([]int{7}); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setgroups(groups)
	got := readAll(t, runExec(t, payload.Config{UID: 1234, GID: 56}, []string{"/bin/sh", "-c", "id -u; id -g; id -G"}).dial())
	if got != "1234\n56\n56\n" {
		t.Errorf("ids %q; want 1234, 56 and no further groups", got)
	}
}

func TestAProgramHasNoDescriptorsButItsOwn(t *testing.T) {
	inherited, err := unix.Dup(1) // as from whoever started this process
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	c := runExec(t, payload.Config{}, program(t, "fds")).dial()
	for _, line := range strings.Split(strings.TrimSpace(readAll(t, c)), "\n") {
		number, to, _ := strings.Cut(line, " ")
		// What the runtime of the program opens itself is not meant.
		if n, _ := strconv.Atoi(number); n > 2 && !strings.HasPrefix(to, "/proc/") && !strings.HasPrefix(to, "/sys/") {
			t.Errorf("the program holds %s", line)
		}
	}
}

func TestTheRestOfTheOutputIsDelivered(t *testing.T) {
	for _, status := range []string{"0", "3"} {
		h := runExec(t, payload.Config{}, program(t, "exit", status))
		if got := readAll(t, h.dial()); got != "bye" {
			t.Errorf("exit %s: %q", status, got)
		}
		h.idle()
		level, words := "DEBUG", "exit status "+status
		if status != "0" {
			level = "WARN"
		}
		if h.log.count("level="+level, "program ended", "service=kv", "pid=", words, "took=") != 1 {
			t.Errorf("exit %s is not logged as %s", status, level)
		}
	}
}

// A peer that is slower than any patience with the program's end.
func TestASlowPeerGetsAllOfIt(t *testing.T) {
	h := runExec(t, payload.Config{}, program(t, "write", "60000"))
	c := h.dial()
	c.SetReadBuffer(4 << 10)
	await(t, "the program has ended", func() bool { return h.log.count("program ended") == 1 })
	time.Sleep(1200 * time.Millisecond)
	if n := len(readAll(t, c)); n != 60000 {
		t.Errorf("%d bytes; want 60000", n)
	}
}

func TestAPeerThatTakesNothingLosesTheConnection(t *testing.T) {
	h := runExec(t, payload.Config{Untaken: 200 * time.Millisecond}, program(t, "drip"))
	h.dial()
	await(t, "the program was started", func() bool { return h.status().Served == 1 })
	h.idle()
	noChildren(t)
}

func TestALostConnectionEndsTheWholeGroup(t *testing.T) {
	h := runExec(t, payload.Config{}, program(t, "family"))
	c := h.dial()
	child, _ := strconv.Atoi(readLine(t, c))
	parent, _ := strconv.Atoi(readLine(t, c))
	if !alive(child) || !alive(parent) {
		t.Fatal("the family does not live")
	}
	began := time.Now()
	reset(c)
	h.idle()
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("deaf programs were killed after %v; want 2 s after SIGTERM", took)
	}
	await(t, "the family is gone", func() bool { return !alive(child) && !alive(parent) })
	noChildren(t)
}

func TestTheEndOfTheServiceIsInTime(t *testing.T) {
	h := runExec(t, payload.Config{}, program(t, "family"))
	c := h.dial()
	child, _ := strconv.Atoi(readLine(t, c))
	parent, _ := strconv.Atoi(readLine(t, c))
	began := time.Now()
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 4500*time.Millisecond {
		t.Errorf("the end took %v", took)
	}
	await(t, "the family is gone", func() bool { return !alive(child) && !alive(parent) })
	noChildren(t)
}

func TestWhoHoldsTheOutputDoesNotHoldTheConnection(t *testing.T) {
	for name, how := range map[string][]string{"in the group": nil, "in a session of its own": {"session"}} {
		t.Run(name, func(t *testing.T) {
			h := runExec(t, payload.Config{}, program(t, "parent", how...))
			c := h.dial()
			pid, _ := strconv.Atoi(readLine(t, c))
			began := time.Now()
			readAll(t, c)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("the connection ended after %v; want 1 s after the program", took)
			}
			h.idle()
			if how == nil {
				await(t, "the grandchild is gone", func() bool { return !alive(pid) })
			} else if p, err := os.FindProcess(pid); err == nil {
				p.Kill()
			}
			noChildren(t)
		})
	}
}

func TestWhatProgramsSayIsBounded(t *testing.T) {
	h := runExec(t, payload.Config{}, program(t, "shout", "20000"))
	if got := readAll(t, h.dial()); got != "shouted" {
		t.Fatalf("got %q", got)
	}
	h.idle()
	if n := h.log.count("program says", "service=kv", "pid="); n < 100 || n > 300 {
		t.Errorf("%d lines of 20001 are in the log; want 100 and 10 a second", n)
	}
	if h.log.count(strings.Repeat("x", 1024)) != 1 || h.log.count(strings.Repeat("x", 1025)) != 0 || h.log.count("cut=true") != 1 {
		t.Error("the long line is not cut at 1 KiB")
	}
	if h.log.count("lines of programs dropped", "lines=") == 0 {
		t.Error("what was dropped is not counted")
	}
}

func TestWhatProgramsSayIsEscaped(t *testing.T) {
	h := runExec(t, payload.Config{}, []string{"/bin/sh", "-c", `printf 'a\033[31m\nlevel=ERROR\r\nrest' >&2`})
	readAll(t, h.dial())
	h.idle()
	if h.log.count("\x1b") != 0 || h.log.count(`text="a\x1b[31m"`) != 1 || h.log.count("text=rest") != 1 {
		t.Errorf("log:\n%s", h.log)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	h := runExec(t, payload.Config{PerDomain: 2}, program(t, "cat"))
	var open []*net.TCPConn
	for range 2 {
		c := h.dial()
		io.WriteString(c, "x")
		io.ReadFull(c, make([]byte, 1))
		open = append(open, c)
	}
	if h.try() == nil {
		t.Error("the third connection was served")
	}
	if st := h.status(); st.Open != 2 || st.Served != 2 || st.Refused != 1 {
		t.Errorf("Status = %+v", st)
	}
	for _, c := range open {
		c.CloseWrite()
		readAll(t, c)
	}
}

func TestRestartEndsPrograms(t *testing.T) {
	h := runExec(t, payload.Config{}, program(t, "cat"))
	c := h.dial()
	io.WriteString(c, "x")
	io.ReadFull(c, make([]byte, 1))
	if err := h.supervisor.Restart("kv"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection outlived the restart")
	}
	await(t, "the service is started again", func() bool { return h.status().Starts == 2 })
	c = h.dial()
	c.CloseWrite()
	readAll(t, c)
	h.idle()
	noChildren(t)
}
