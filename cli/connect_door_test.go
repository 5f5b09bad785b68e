package cli_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/cli"
	"xvsock/vsock/hybrid"
)

// fakeDoor is a daemon's unix socket for programs, whose domains are functions.
type fakeDoor struct {
	t    *testing.T
	path string

	mu sync.Mutex
	// connects answers CONNECT for "DOMAIN PORT": the stream is the function's, or there is
	// a refusal. What is in none of the two is never answered.
	connects map[string]func(*net.UnixConn)
	refusals map[string]*hybrid.Error

	l       net.Listener
	conns   map[net.Conn]bool
	calls   map[uint32]chan *os.File // to who listens
	listens []uint32                 // every port that was asked for
	serving sync.WaitGroup
}

func newFakeDoor(t *testing.T) *fakeDoor {
	t.Helper()
	d := &fakeDoor{t: t, path: filepath.Join(t.TempDir(), "door"), conns: make(map[net.Conn]bool), calls: make(map[uint32]chan *os.File)}
	d.start()
	t.Cleanup(d.stop)
	return d
}

// serves says what answers CONNECT.
func (d *fakeDoor) serves(connects map[string]func(*net.UnixConn)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connects = connects
}

// refuses says what is refused, of CONNECT by "DOMAIN PORT" and of LISTEN by "listen PORT".
func (d *fakeDoor) refuses(refusals map[string]*hybrid.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refusals = refusals
}

// answer is what a request is answered with: by a function, or a refusal, or not at all.
func (d *fakeDoor) answer(r hybrid.Request) (func(*net.UnixConn), *hybrid.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Verb == hybrid.Listen {
		return nil, d.refusals["listen "+r.Port]
	}
	return d.connects[r.Domain+" "+r.Port], d.refusals[r.Domain+" "+r.Port]
}

// start lets the daemon run, again after stop.
func (d *fakeDoor) start() {
	l, err := net.Listen("unix", d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	d.l = l
	d.mu.Unlock()
	d.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.conns[c] = true
			d.mu.Unlock()
			d.serving.Go(func() {
				d.serve(c.(*net.UnixConn))
				c.Close()
				d.mu.Lock()
				delete(d.conns, c)
				d.mu.Unlock()
			})
		}
	})
}

// stop ends the daemon and all that goes through it.
func (d *fakeDoor) stop() {
	d.mu.Lock()
	d.l.Close()
	for c := range d.conns {
		c.Close()
	}
	d.mu.Unlock()
	d.serving.Wait()
}

func (d *fakeDoor) serve(c *net.UnixConn) {
	line, err := hybrid.ReadLine(c)
	if err != nil {
		return
	}
	r, err := hybrid.ParseRequest(line)
	if err != nil {
		c.Write((&hybrid.Error{Errno: syscall.EINVAL, Text: err.Error()}).Line())
		return
	}
	switch serve, refusal := d.answer(r); {
	case refusal != nil:
		c.Write(refusal.Line())
	case serve != nil:
		c.Write(hybrid.OK(0xC0000001))
		serve(c)
	case r.Verb == hybrid.Connect:
		c.Read(make([]byte, 1)) // until it goes away
	default:
		d.listen(c, r.Port)
	}
}

// listen serves who listens.
func (d *fakeDoor) listen(c *net.UnixConn, text string) {
	port := uint32(0)
	for _, digit := range text {
		port = port*10 + uint32(digit-'0')
	}
	d.mu.Lock()
	d.listens = append(d.listens, port)
	if port == 0 {
		port = 3221225472
	}
	calls := make(chan *os.File)
	d.calls[port] = calls
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.calls, port)
		d.mu.Unlock()
	}()
	c.Write(hybrid.OK(port))
	accepts, gone := make(chan struct{}, hybrid.MaxAccepts), make(chan struct{})
	d.serving.Go(func() {
		defer close(gone)
		for {
			if _, err := hybrid.ReadLine(c); err != nil {
				return
			}
			accepts <- struct{}{}
		}
	})
	for {
		select {
		case <-gone:
			return
		case <-accepts:
		}
		select {
		case <-gone:
			return
		case f := <-calls:
			c.WriteMsgUnix(hybrid.Accepted(5, 4711), unix.UnixRights(int(f.Fd())), nil)
			f.Close()
		}
	}
}

// call connects to who listens on a port, as another domain would.
func (d *fakeDoor) call(port uint32) *net.UnixConn {
	d.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	for stop := time.Now().Add(20 * time.Second); time.Now().Before(stop); time.Sleep(5 * time.Millisecond) {
		d.mu.Lock()
		calls := d.calls[port]
		d.mu.Unlock()
		if calls == nil {
			continue
		}
		select {
		case calls <- theirs:
			return c.(*net.UnixConn)
		case <-time.After(100 * time.Millisecond): // it may be the last daemon's
		}
	}
	d.t.Fatalf("nobody listens on port %d", port)
	return nil
}

// echo sends back what it is sent, and ends when that does.
func echo(c *net.UnixConn) {
	io.Copy(c, c)
	c.CloseWrite()
}

// runVariable tells the test binary to be xvsock, and nobodyVariable to be so as a user
// that may do nothing.
const (
	runVariable    = "XVSOCK_TEST_RUN"
	nobodyVariable = "XVSOCK_TEST_NOBODY"
)

// TestAsProgram is no test: it is the command line in a process of its own, with
// standard files and signals.
func TestAsProgram(t *testing.T) {
	if os.Getenv(runVariable) == "" {
		return
	}
	os.Unsetenv(runVariable)
	if os.Getenv(nobodyVariable) != "" {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(65534), syscall.Setuid(65534)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Run(ctx, nowhere(), "v1.2.3", os.Args[slices.Index(os.Args, "--")+1:], os.Stdout, os.Stderr))
}

// program is a command line to run in a process of its own.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], append([]string{"-test.run=^TestAsProgram$", "--"}, args...)...)
	// The race detector waits a second at a process's end, for others to have theirs.
	cmd.Env = append(os.Environ(), runVariable+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// started is a process that runs, with what it writes.
type started struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdin          io.WriteCloser
	stdout, stderr io.ReadCloser
}

// start starts a command line whose standard files are pipes.
func start(t *testing.T, args ...string) *started {
	t.Helper()
	s := &started{t: t, cmd: program(t, args...)}
	var err [3]error
	s.stdin, err[0] = s.cmd.StdinPipe()
	s.stdout, err[1] = s.cmd.StdoutPipe()
	s.stderr, err[2] = s.cmd.StderrPipe()
	for _, e := range append(err[:], s.cmd.Start()) {
		if e != nil {
			t.Fatal(e)
		}
	}
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			s.cmd.Process.Kill()
			s.cmd.Wait()
		}
	})
	return s
}

// end waits until the process has ended, and returns how, and what it has written that
// nobody read.
func (s *started) end() result {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	var both sync.WaitGroup
	both.Go(func() { io.Copy(&stdout, s.stdout) })
	both.Go(func() { io.Copy(&stderr, s.stderr) })
	both.Wait()
	s.cmd.Wait()
	return result{s.cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// line reads a line of standard error.
func (s *started) line() string {
	s.t.Helper()
	line := make(chan string, 1)
	go func() {
		var text strings.Builder
		for b := make([]byte, 1); ; {
			if _, err := s.stderr.Read(b); err != nil || b[0] == '\n' {
				line <- text.String()
				return
			}
			text.WriteByte(b[0])
		}
	}()
	select {
	case l := <-line:
		return l
	case <-time.After(20 * time.Second):
		s.t.Fatal("nothing comes on standard error")
		return ""
	}
}

// random returns bytes that no text has, and what tells that they are the same.
func random(n int) ([]byte, [sha256.Size]byte) {
	data := make([]byte, n)
	rand.Read(data)
	return data, sha256.Sum256(data)
}
