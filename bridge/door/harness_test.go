package door_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"xvsock/bridge/door"
	"xvsock/link"
	"xvsock/mux"
	"xvsock/services"
	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/vsock"
	"xvsock/xen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a domain with a door, and its backend's domain, joined by a link.
type world struct {
	t     *testing.T
	path  string
	front *vsock.Stack // the door's
	back  *vsock.Stack
	door  *door.Server
	vsock.Door
	// stop ends the door.
	stop func() error
}

// locals has the door's programs alone.
type locals struct{ door *door.Server }

func (l locals) Acceptor(port uint32) func(*vsock.Conn) bool { return l.door.Acceptor(port) }
func (l locals) Relay(xen.DomID) mux.Relay                   { return nil }

// resolve knows the backend, "self", numbers, and the well-known ports.
func resolve(_ context.Context, domain, port string) (vsock.Addr, error) {
	n, err := services.ParsePort(port)
	if err != nil {
		return vsock.Addr{}, err
	}
	switch domain {
	case "self":
		return vsock.Addr{CID: vsock.CIDSelf, Port: n}, nil
	case "@backend", "dom0":
		return vsock.Addr{CID: vsock.CIDBackend, Port: n}, nil
	}
	cid, err := strconv.ParseUint(domain, 0, 32)
	if err != nil {
		return vsock.Addr{}, fmt.Errorf("no domain %q", domain)
	}
	return vsock.Addr{CID: uint32(cid), Port: n}, nil
}

// tempDir is a directory with a name so short that sockets can be in it.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "door")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// newWorld starts both domains, and a door with cfg.
func newWorld(t *testing.T, cfg door.Config) *world {
	t.Helper()
	cfg.Path = filepath.Join(tempDir(t), "vsock.sock")
	cfg.Resolve = resolve
	w := &world{t: t, path: cfg.Path, door: door.New(cfg), Door: vsock.Door{Path: cfg.Path}}
	h := sim.NewTest(t)
	guest, dom0 := h.Create(sim.DomainConfig{}), h.Domain(0)
	store := h.Toolstack()
	defer store.Close()
	if err := toolstack.Attach(t.Context(), store, toolstack.Domain{ID: guest.ID(), Name: guest.Name(), UUID: guest.UUID()},
		toolstack.Domain{ID: 0}, nil); err != nil {
		t.Fatal(err)
	}
	w.back = w.stack(dom0, vsock.Config{Backend: true, Memory: 1 << 30, PeerMemory: 1 << 28}, func(ctx context.Context, d *link.Domain, s *vsock.Stack) {
		link.NewBack(d, guest.ID(), link.Options{}).Run(ctx, func(_ context.Context, l *link.Link) error {
			return s.Serve(l, vsock.ToFrontend, nil)
		})
	})
	w.front = w.stack(guest, vsock.Config{Locals: locals{w.door}, Memory: 1 << 30, PeerMemory: 1 << 28}, func(ctx context.Context, d *link.Domain, s *vsock.Stack) {
		link.NewFront(d, link.Options{}).Run(ctx, func(_ context.Context, l *link.Link) error {
			return s.Serve(l, vsock.ToBackend, nil)
		})
	})
	w.stop = run(t, w.door, w.front, cfg.Path)
	await(t, "a link", func() bool { return len(w.front.Peers()) == 1 && len(w.back.Peers()) == 1 })
	return w
}

// stack starts a process in dom with a Stack, and a half of a link.
func (w *world) stack(dom *sim.Domain, cfg vsock.Config, half func(context.Context, *link.Domain, *vsock.Stack)) *vsock.Stack {
	p := dom.NewProcess()
	store := p.Xenstore()
	d := link.NewDomain(dom.ID(), p.Grants(), p.Events(), store)
	cfg.Self = dom.ID()
	s := vsock.NewStack(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var halves sync.WaitGroup
	halves.Go(func() { half(ctx, d, s) })
	w.t.Cleanup(func() {
		s.Close()
		cancel()
		halves.Wait()
		store.Close()
	})
	return s
}

// run runs a door until the returned function, or the test, ends it.
func run(t *testing.T, s *door.Server, stack door.Stack, path string) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, stack) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	await(t, "the door", func() bool { _, err := os.Stat(path); return err == nil })
	return stop
}

// await waits until ok.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain waited for %s", what)
		}
	}
}

// echo sends back what comes to a port of the backend's domain.
func (w *world) echo(port uint32) {
	l := w.listen(port)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
}

// listen listens in the backend's domain.
func (w *world) listen(port uint32) *vsock.Listener {
	w.t.Helper()
	l, err := w.back.Listen(port)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	return l
}

// dial connects from the backend's domain to a port of the door's.
func (w *world) dial(port uint32) (*vsock.Conn, error) {
	c, err := w.back.Dial(w.t.Context(), vsock.Addr{CID: uint32(w.front.Self()), Port: port})
	if err == nil {
		w.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// raw is a connection of a program to a socket of the door.
type raw struct {
	t *testing.T
	*net.UnixConn
	*bufio.Reader
}

// Read implements io.Reader, after what line has read ahead.
func (r *raw) Read(p []byte) (int, error) { return r.Reader.Read(p) }

// connect connects to the door and says something.
func (w *world) connect(say string) *raw {
	w.t.Helper()
	return connect(w.t, w.path, say)
}

func connect(t *testing.T, path, say string) *raw {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(c, say) // the door may have refused already
	return &raw{t: t, UnixConn: c.(*net.UnixConn), Reader: bufio.NewReader(c)}
}

// line reads a line.
func (r *raw) line() string {
	r.t.Helper()
	s, err := r.ReadString('\n')
	if err != nil {
		r.t.Fatalf("no line: %q, %v", s, err)
	}
	return strings.TrimSuffix(s, "\n")
}

// begins checks the beginning of the next line.
func (r *raw) begins(want string) {
	r.t.Helper()
	if got := r.line(); !strings.HasPrefix(got, want) {
		r.t.Fatalf("the door says %q; want %q", got, want)
	}
}

// ended checks that the door has closed the connection.
func (r *raw) ended() {
	r.t.Helper()
	if n, err := io.Copy(io.Discard, r); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		r.t.Errorf("not the end: %d bytes, %v", n, err)
	}
}

// asUser runs f in a thread whose user is another.
func asUser(t *testing.T, uid int, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can be another user")
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		_, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
		if e == 0 {
			f()
			done <- nil
			return
		}
		done <- e
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// connectAs is connect by another user.
func (w *world) connectAs(uid int, say string) (r *raw) {
	w.t.Helper()
	asUser(w.t, uid, func() {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: w.path})
		}
		f := os.NewFile(uintptr(fd), "")
		defer f.Close()
		if err != nil {
			w.t.Error(err)
			return
		}
		c, err := net.FileConn(f)
		if err != nil {
			w.t.Error(err)
			return
		}
		r = &raw{t: w.t, UnixConn: c.(*net.UnixConn), Reader: bufio.NewReader(c)}
	})
	if r == nil {
		w.t.FailNow()
	}
	w.t.Cleanup(func() { r.UnixConn.Close() })
	r.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(r.UnixConn, say)
	return r
}

// openFiles counts the descriptors of this process.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(entries)
}

// exists reports whether a file does, without following it.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// isErrno reports whether an error is a *net.OpError around the errno.
func isErrno(err error, errno syscall.Errno) bool {
	var op *net.OpError
	return errors.As(err, &op) && errors.Is(err, errno)
}
