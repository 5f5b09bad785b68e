package cli_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"xvsock/vsock/hybrid"
)

func TestListenJoinsTheFirstConnection(t *testing.T) {
	d := newFakeDoor(t)
	s := start(t, "listen", "7000", "--door", d.path)
	c := d.call(7000)
	data, sum := random(1 << 20)
	go func() { c.Write(data); c.CloseWrite() }()
	go func() { io.WriteString(s.stdin, "answer"); s.stdin.Close() }()
	if all, err := io.ReadAll(c); string(all) != "answer" || err != nil {
		t.Errorf("the peer reads %q, %v", all, err)
	}
	if r := s.end(); r.code != 0 || r.stderr != "" || sha256.Sum256([]byte(r.stdout)) != sum {
		t.Errorf("%d, %d bytes, %s", r.code, len(r.stdout), r.stderr)
	}
}

func TestListenTellsThePortThatItPicked(t *testing.T) {
	d := newFakeDoor(t)
	s := start(t, "listen", "0", "--door", d.path)
	if l := s.line(); l != "listening on port 3221225472" {
		t.Errorf("it says %q", l)
	}
	s.stdin.Close()
	d.call(3221225472).Close()
	if r := s.end(); r.code != 0 || r.stderr != "" {
		t.Errorf("%+v", r)
	}
}

func TestListenTellsWhyItCannot(t *testing.T) {
	d := newFakeDoor(t)
	d.refuses(map[string]*hybrid.Error{
		"listen 1":  {Errno: syscall.EACCES, Text: "port 1 is the connection manager's"},
		"listen 22": {Errno: syscall.EACCES}, "listen 7000": {Errno: syscall.EADDRINUSE}, "listen 7001": {Errno: syscall.EMFILE},
	})
	for port, want := range map[string]string{
		"1":    "port 1 is the connection manager's",
		"22":   "only root may listen on a port below 1024: use another, or run as root",
		"7000": "another program, or a service, has it",
		"7001": "too many open files",
	} {
		r := run(t, "listen", port, "--door", d.path)
		if r.code != 125 || !strings.Contains(r.stderr, "listen on port "+port+": "+want) {
			t.Errorf("%+v, want %s", r, want)
		}
		oneLine(t, r)
	}
}

func TestAProgramHasTheConnection(t *testing.T) {
	d := newFakeDoor(t)
	t.Setenv("XVSOCK_PEER_NAME", "another")
	s := start(t, "listen", "7000", "--door", d.path, "--", "sh", "-c",
		`echo $XVSOCK_PEER_CID $XVSOCK_PEER_PORT $XVSOCK_PORT $XVSOCK_PEER_NAME; wc -c; echo oops >&2; ls -l /proc/self/fd | grep -c socket >&2`)
	c := d.call(7000)
	go func() { c.Write(make([]byte, 3<<20)); c.CloseWrite() }()
	if all, err := io.ReadAll(c); string(all) != "5 4711 7000\n3145728\n" || err != nil {
		t.Errorf("the peer reads %q, %v", all, err)
	}
	if r := s.end(); r.code != 0 || r.stdout != "" || r.stderr != "oops\n1\n" { // its input; grep has the output
		t.Errorf("%+v", r)
	}
	s = start(t, "listen", "7000", "--door", d.path, "--", "false")
	d.call(7000)
	if r := s.end(); r.code != 1 || !strings.Contains(r.stderr, "exit status 1") {
		t.Errorf("a program that fails: %+v", r)
	}
}

func TestAProgramAloneHasTheConnection(t *testing.T) {
	d := newFakeDoor(t)
	s := start(t, "listen", "7000", "--door", d.path, "--", "sh", "-c", `echo bye; exec sleep 100 <&- >&-`)
	c := d.call(7000)
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if all, err := io.ReadAll(c); string(all) != "bye\n" || err != nil {
		t.Errorf("when the program has closed it the peer reads %q, %v", all, err)
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	if r := s.end(); r.code != 1 || r.stderr != "xvsock: terminated signal received\n" {
		t.Errorf("%+v", r)
	}
}

// children are the processes below a process.
func children(pid int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		data, _ := os.ReadFile(stat)
		_, rest, _ := strings.Cut(string(data), ") ")
		fields := strings.Fields(rest)
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			n, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
			pids = append(pids, n)
		}
	}
	return pids
}

// descriptors counts the open files of a process.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for stop := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(stop) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestForkRunsSoManyProgramsAndLeavesNothing(t *testing.T) {
	d := newFakeDoor(t)
	s := start(t, "listen", "7000", "--door", d.path, "-v", "--fork", "--max", "2", "--", "cat")
	s.line()
	pid := s.cmd.Process.Pid
	d.call(7000).Close()
	eventually(t, "no child is left", func() bool { return len(children(pid)) == 0 })
	open := descriptors(t, pid)
	first, second := d.call(7000), d.call(7000)
	third := make(chan *net.UnixConn)
	go func() { third <- d.call(7000) }()
	for _, c := range []net.Conn{first, second} {
		io.WriteString(c, "hello")
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-third:
		t.Error("a third connection is taken at once")
	case <-time.After(200 * time.Millisecond):
	}
	if n := len(children(pid)); n != 2 {
		t.Errorf("%d programs run, want 2", n)
	}
	first.Close()
	(<-third).Close()
	second.Close()
	for range 20 {
		c := d.call(7000)
		io.WriteString(c, "x")
		c.CloseWrite()
		if all, err := io.ReadAll(c); string(all) != "x" || err != nil {
			t.Errorf("read %q, %v", all, err)
		}
		c.Close()
	}
	eventually(t, "no child and no descriptor is left", func() bool { return len(children(pid)) == 0 && descriptors(t, pid) <= open })
	s.cmd.Process.Signal(syscall.SIGTERM)
	if r := s.end(); r.code != 0 || r.stderr != "" {
		t.Errorf("at the end %+v", r)
	}
}

func TestForkEndsItsProgramsInOrder(t *testing.T) {
	d := newFakeDoor(t)
	s := start(t, "listen", "7000", "--door", d.path, "--fork", "--",
		"sh", "-c", `trap 'echo told; exit' TERM; sleep 100 & echo $!; wait`)
	stubborn := start(t, "listen", "7001", "--door", d.path, "--fork", "--", "sh", "-c", `trap '' TERM; echo ready; sleep 100; sleep 100`)
	c, deaf := d.call(7000), d.call(7001)
	line := make([]byte, 16)
	n, _ := c.Read(line)
	sleeper, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	io.ReadFull(deaf, make([]byte, 6))
	began := time.Now()
	s.cmd.Process.Signal(syscall.SIGTERM)
	stubborn.cmd.Process.Signal(syscall.SIGTERM)
	if all, _ := io.ReadAll(c); string(all) != "told\n" {
		t.Errorf("the program says %q at its end", all)
	}
	if r := s.end(); r.code != 0 || time.Since(began) > 1500*time.Millisecond {
		t.Errorf("after %v: %+v", time.Since(began), r)
	}
	if r := stubborn.end(); r.code != 0 || time.Since(began) < 2*time.Second {
		t.Errorf("after %v: %+v", time.Since(began), r)
	}
	io.ReadAll(deaf)
	eventually(t, "the group is gone", func() bool { return syscall.Kill(sleeper, 0) != nil || zombie(sleeper) })
}

func TestForkLeavesNoOthersOfAGroupBehind(t *testing.T) {
	for name, script := range map[string]string{
		"the program ends, a child stays":          `trap '' TERM; sleep 100 & echo $!; trap 'exit 0' TERM; wait`,
		"the program has no time to say so itself": `trap '' TERM; sleep 100 & echo $!; trap - TERM; wait`,
	} {
		t.Run(name, func(t *testing.T) {
			d := newFakeDoor(t)
			s := start(t, "listen", "7000", "--door", d.path, "--fork", "--", "sh", "-c", script)
			line := make([]byte, 16)
			n, _ := d.call(7000).Read(line)
			child, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { syscall.Kill(child, syscall.SIGKILL) })
			began := time.Now()
			s.cmd.Process.Signal(syscall.SIGTERM)
			if r := s.end(); r.code != 0 || time.Since(began) < 2*time.Second {
				t.Errorf("after %v: %+v", time.Since(began), r)
			}
			eventually(t, "the child is gone", func() bool { return syscall.Kill(child, 0) != nil || zombie(child) })
		})
	}
}

// zombie reports whether a process has ended, and nobody has asked how.
func zombie(pid int) bool {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return strings.Contains(string(data), ") Z ")
}

func TestForkListensAgainWhenTheDaemonRestarts(t *testing.T) {
	d := newFakeDoor(t)
	s := start(t, "listen", "0", "--door", d.path, "--fork", "--", "cat")
	s.line()
	d.call(3221225472).Close()
	d.stop()
	if l := s.line(); !strings.Contains(l, "listener lost") {
		t.Errorf("it says %q", l)
	}
	time.Sleep(300 * time.Millisecond) // so that it fails to, at first
	d.start()
	c := d.call(3221225472)
	io.WriteString(c, "again")
	c.CloseWrite()
	if all, _ := io.ReadAll(c); string(all) != "again" {
		t.Errorf("read %q", all)
	}
	d.mu.Lock()
	if want := []uint32{0, 3221225472}; !slices.Equal(d.listens, want) {
		t.Errorf("it asks for the ports %v, want %v: a port that was picked is kept", d.listens, want)
	}
	d.mu.Unlock()
	s.cmd.Process.Signal(syscall.SIGTERM)
	if r := s.end(); r.code != 0 {
		t.Errorf("%+v", r)
	}
}
