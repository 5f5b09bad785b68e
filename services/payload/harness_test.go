package payload_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/services"
	"xvsock/vsock"
)

// host runs a service by a supervisor until the test ends, on TCP or on the vsock of
// a domain alone.
type host struct {
	t          *testing.T
	supervisor *services.Supervisor
	log        *record
	stop       func() error

	mu    sync.Mutex
	addr  string
	stack *vsock.Stack // nil: on TCP
}

var caller = services.Caller{Domain: 5, CID: 5, Name: "web", UUID: "6a2e", Port: 4711}

func identify(net.Conn) (services.Caller, bool) { return caller, true }

// run starts a service; new makes it with a log.
func run(t *testing.T, make func(*slog.Logger) services.Service) *host {
	t.Helper()
	return (&host{t: t, log: &record{}}).run(make)
}

// runVsock is run on vsock.
func runVsock(t *testing.T, make func(*slog.Logger) services.Service) *host {
	t.Helper()
	h := &host{t: t, log: &record{}, stack: vsock.NewStack(vsock.Config{Self: 5})}
	t.Cleanup(func() { h.stack.Close() })
	return h.run(make)
}

func (h *host) listen(uint32) (net.Listener, error) {
	if h.stack != nil {
		return h.stack.Listen(5000)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		h.mu.Lock()
		h.addr = l.Addr().String()
		h.mu.Unlock()
	}
	return l, err
}

func (h *host) run(make func(*slog.Logger) services.Service) *host {
	t := h.t
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.supervisor = services.NewSupervisor(services.Config{Log: log, Listen: h.listen})
	if err := h.supervisor.Add(services.Info{Name: "kv", Port: 5000}, make(log)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := newResult(func() error { return h.supervisor.Serve(ctx) })
	h.stop = func() error { cancel(); return ended() }
	t.Cleanup(func() {
		if err := h.stop(); err != nil {
			t.Errorf("Serve() = %v", err)
		}
		if t.Failed() {
			t.Log(h.log.String())
		}
	})
	return h
}

// newResult runs f and returns a function that waits for what it returned.
func newResult(f func() error) func() error {
	var err error
	done := make(chan struct{})
	go func() { defer close(done); err = f() }()
	return func() error { <-done; return err }
}

// await waits for a condition; for what processes do there is no other way.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

func (h *host) state() services.State   { return h.supervisor.Registry().State("kv") }
func (h *host) status() services.Status { return h.supervisor.Status()[0] }

func (h *host) await(s services.State) {
	h.t.Helper()
	await(h.t, "the service is "+string(s), func() bool { return h.state() == s })
}

func (h *host) dial() *net.TCPConn {
	h.t.Helper()
	h.await(services.Serving)
	h.mu.Lock()
	defer h.mu.Unlock()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*net.TCPConn)
}

// try dials for a connection that is not served, and returns its error, which the
// dial may have already.
func (h *host) try() error {
	h.await(services.Serving)
	h.mu.Lock()
	defer h.mu.Unlock()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	_, err = c.Read(make([]byte, 1))
	return err
}

// call is dial on vsock.
func (h *host) call() *vsock.Conn {
	h.t.Helper()
	h.await(services.Serving)
	c, err := h.stack.Dial(h.t.Context(), vsock.Addr{CID: vsock.CIDSelf, Port: 5000})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// idle waits until no connection is open.
func (h *host) idle() {
	h.t.Helper()
	await(h.t, "no connection is open", func() bool { return h.status().Open == 0 })
}

// reset ends a connection as a lost one ends.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

func readAll(t *testing.T, c net.Conn) string {
	t.Helper()
	all, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	return string(all)
}

func readLine(t *testing.T, c net.Conn) string {
	t.Helper()
	var line []byte
	for b := make([]byte, 1); ; line = append(line, b[0]) {
		if _, err := c.Read(b); err != nil {
			t.Fatalf("read a line: %v after %q", err, line)
		}
		if b[0] == '\n' {
			return string(line)
		}
	}
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// noChildren fails the test if this process has a child, living or dead.
func noChildren(t *testing.T) {
	t.Helper()
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("wait4 = %d, %v; want ECHILD", pid, err)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// record is a log that many write.
type record struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.String()
}

func (r *record) count(words ...string) (n int) {
	for line := range strings.Lines(r.String()) {
		has := true
		for _, w := range words {
			has = has && strings.Contains(line, w)
		}
		if has {
			n++
		}
	}
	return n
}

func procPath(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }
