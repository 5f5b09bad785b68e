package vsock_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/vsock"
	"xvsock/vsock/hybrid"
)

// fakeDoor is a daemon of one connection after the other.
func fakeDoor(t *testing.T, serve func(c *net.UnixConn)) vsock.Door {
	t.Helper()
	dir, err := os.MkdirTemp("", "vsock")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			serve(c)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
		os.RemoveAll(dir)
	})
	return vsock.Door{Path: l.Addr().String()}
}

// answers returns a daemon that answers each line with the next of the texts, and ends.
func answers(t *testing.T, texts ...string) vsock.Door {
	return fakeDoor(t, func(c *net.UnixConn) {
		for _, text := range texts {
			if _, err := hybrid.ReadLine(c); err != nil {
				return
			}
			io.WriteString(c, text)
		}
	})
}

func TestAnswersOfTheDaemon(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		want   error
		text   string
	}{
		"a refusal":               {"ERR EACCES port 9 is denied\n", syscall.EACCES, "dial vsock db1:9: port 9 is denied"},
		"one without a text":      {"ERR ECONNREFUSED\n", syscall.ECONNREFUSED, "dial vsock db1:9: connection refused"},
		"one that is not known":   {"ERR EFOO\n", syscall.EIO, "dial vsock db1:9: EFOO"},
		"no port":                 {"OK\n", hybrid.ErrLine, ""},
		"another protocol":        {"HTTP/1.1 400 Bad Request\r\n", hybrid.ErrLine, ""},
		"a line that never ends":  {strings.Repeat("x", 1000), hybrid.ErrLine, ""},
		"the end":                 {"", syscall.ECONNRESET, "dial vsock db1:9: the xvsock daemon has ended"},
		"the end within the line": {"OK 12", syscall.ECONNRESET, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := answers(t, test.answer).DialContext(t.Context(), "db1:9")
			if opError(t, "dial", withSource(err)); !errors.Is(err, test.want) || test.text != "" && err.Error() != test.text {
				t.Errorf("%v", err)
			}
		})
	}
}

// withSource gives an error what opError wants to see: who dials by a door has no address.
func withSource(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Source == nil {
		with := *op
		with.Source = vsock.Addr{}
		return &with
	}
	return err
}

func TestAddressesOfADoorsConnection(t *testing.T) {
	for address, remote := range map[string]net.Addr{
		"5:7":           vsock.Addr{CID: 5, Port: 7},
		"0x10001:0x10":  vsock.Addr{CID: 0x10001, Port: 16},
		"db1:echo":      nil,
		"@backend:2":    nil,
		"db1:7":         nil,
		"a-b-c:d_e:777": nil, // whatever the daemon says to it
	} {
		heard := make(chan string, 1)
		d := fakeDoor(t, func(c *net.UnixConn) {
			line, _ := hybrid.ReadLine(c)
			heard <- line
			io.WriteString(c, "OK 3221225472\nfirst")
			io.Copy(io.Discard, c)
		})
		c, err := d.DialContext(t.Context(), address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		first := make([]byte, 5)
		io.ReadFull(c, first)
		c.Close()
		i := strings.LastIndexByte(address, ':')
		if said, want := <-heard, "CONNECT "+address[:i]+" "+address[i+1:]; said != want || string(first) != "first" {
			t.Errorf("%s: said %q, read %q", address, said, first)
		}
		if c.LocalAddr() != (vsock.Addr{CID: vsock.CIDSelf, Port: 0xC0000000}) || remote != nil && c.RemoteAddr() != remote ||
			c.RemoteAddr().Network() != "vsock" || remote == nil && c.RemoteAddr().String() != address {
			t.Errorf("%s: %v to %v", address, c.LocalAddr(), c.RemoteAddr())
		}
	}
}

func TestAddressesThatCannotBeSaid(t *testing.T) {
	d := vsock.Door{Path: "/nobody/is/asked"}
	for _, address := range []string{"", "db1", ":7", "db1:", "my domain:7", "db1:7 8", "a\nb:7", "ä:7", strings.Repeat("x", 300) + ":7"} {
		_, err := d.DialContext(t.Context(), address)
		if !errors.Is(err, vsock.ErrAddr) || strings.Contains(errors.Unwrap(err).Error(), "\n") {
			t.Errorf("%.20q: %v", address, err)
		}
	}
}

func TestWhyThereIsNoDoor(t *testing.T) {
	dir := t.TempDir()
	none := vsock.Door{Path: filepath.Join(dir, "none")}
	stale := vsock.Door{Path: filepath.Join(dir, "stale")}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale.Path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, d := range []vsock.Door{none, stale} {
		_, err := d.DialContext(t.Context(), "db1:7")
		_, lerr := d.Listen(t.Context(), 7)
		for _, err := range []error{err, lerr} {
			if !errors.Is(err, vsock.ErrNoDaemon) || !strings.Contains(err.Error(), d.Path+": start `xvsock backend` or `xvsock domain`") {
				t.Errorf("%v", err)
			}
		}
	}
}

func TestWhoMayNotIsToldWhoMay(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	d := answers(t)
	if err := errors.Join(os.Chmod(filepath.Dir(d.Path), 0o755), os.Chown(d.Path, 0, 8), os.Chmod(d.Path, 0o660)); err != nil {
		t.Fatal(err)
	}
	dial := func() error {
		_, err := d.DialContext(context.Background(), "db1:7")
		return err
	}
	if err := asNobody(dial); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "only root and the group mail may use "+d.Path) {
		t.Errorf("%v", err)
	} else if !errors.Is(err, vsock.ErrNotAllowed) || errors.Is(err, syscall.EACCES) {
		t.Errorf("it cannot be told from a connection that is denied: %v", err)
	}
	if _, err := answers(t, "ERR EACCES no\n").DialContext(t.Context(), "db1:7"); errors.Is(err, vsock.ErrNotAllowed) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a connection that is denied: %v", err)
	}
	os.Chmod(d.Path, 0o600)
	if err := asNobody(dial); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "only root may use "+d.Path) {
		t.Errorf("%v", err)
	}
}

// asNobody runs f in a thread of another user.
func asNobody(f func() error) error {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); e != 0 {
			failed <- e
			return
		}
		failed <- f()
	}()
	return <-failed
}

// A daemon that hangs costs the caller no more than its context says.
func TestADaemonThatHangsIsLeft(t *testing.T) {
	stop := make(chan struct{})
	d := fakeDoor(t, func(*net.UnixConn) { <-stop })
	defer close(stop)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := d.DialContext(ctx, "db1:7"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := d.Listen(ctx, 7); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("too late: %v", err)
	}
	if _, err := d.DialContext(ctx, "db1:7"); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("before it began: %v", err)
	}
}

// The backlog of a daemon is full: whoever comes waits, until it has room or the context
// ends.
func TestManyAtOnceWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	first, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (vsock.Door{Path: path}).DialContext(ctx, "db1:7"); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("%v", err)
	}
}

// give answers an ACCEPT with so many descriptors of one file.
func give(c *net.UnixConn, line string, f *os.File, times int) {
	var rights []int
	for range times {
		rights = append(rights, int(f.Fd()))
	}
	c.WriteMsgUnix([]byte(line), unix.UnixRights(rights...), nil)
}

func TestWhatADaemonMayGiveForAnAccept(t *testing.T) {
	pair := func() *os.File {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fds[0])
		return os.NewFile(uintptr(fds[1]), "")
	}
	plain := func() *os.File {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for name, test := range map[string]struct {
		line  string
		file  func() *os.File
		times int
		ok    bool
	}{
		"a stream":           {"OK 5 1234\n", pair, 1, true},
		"two of them":        {"OK 5 1234\n", pair, 2, true},
		"many":               {"OK 5 1234\n", pair, 50, true},
		"a file":             {"OK 5 1234\n", plain, 1, false},
		"none":               {"OK 5 1234\n", pair, 0, false},
		"one with a refusal": {"ERR EIO no\n", pair, 1, false},
		"one with nonsense":  {"WHAT\n", pair, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := test.file()
			t.Cleanup(func() { f.Close() }) // after the daemon's end
			d := fakeDoor(t, func(c *net.UnixConn) {
				hybrid.ReadLine(c)
				io.WriteString(c, "OK 7\n")
				hybrid.ReadLine(c)
				give(c, test.line, f, test.times)
				io.Copy(io.Discard, c)
			})
			l, err := d.Listen(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			before := openFiles(t)
			c, err := l.Accept()
			if (err == nil) != test.ok {
				t.Errorf("%v, %v", c, err)
			}
			if err == nil {
				if c.RemoteAddr() != (vsock.Addr{CID: 5, Port: 1234}) || c.LocalAddr() != (vsock.Addr{CID: vsock.CIDSelf, Port: 7}) {
					t.Errorf("%v to %v", c.LocalAddr(), c.RemoteAddr())
				}
				c.Close()
			} else {
				var op *net.OpError
				if !errors.As(err, &op) || op.Op != "accept" || op.Addr != l.Addr() {
					t.Errorf("%v", err)
				}
			}
			if after := openFiles(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
			l.Close()
		})
	}
}

// A server that goes on after what is temporary, as net/http's does, is to go on.
func TestAnAcceptWithoutADescriptorIsTemporary(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	stream := os.NewFile(uintptr(pair[1]), "")
	t.Cleanup(func() { stream.Close(); unix.Close(pair[0]) }) // after the daemon's end
	d := fakeDoor(t, func(c *net.UnixConn) {
		hybrid.ReadLine(c)
		io.WriteString(c, "OK 7\n")
		for {
			if _, err := hybrid.ReadLine(c); err != nil {
				return
			}
			give(c, "OK 5 1234\n", stream, 1)
		}
	})
	l, err := d.Listen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for spare, what := range []string{"to receive it", "to make a connection of it"} {
		_, err = withDescriptors(t, spare, l.Accept)
		var passing interface{ Temporary() bool } // which net/http asks
		if !isErrno(err, syscall.EMFILE) || !errors.As(err, &passing) || !passing.Temporary() {
			t.Errorf("without a descriptor %s: %v", what, err)
		}
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatalf("the listener does not go on: %v", err)
	}
	c.Close()
}

// withDescriptors runs f with only so many descriptors left to this process.
func withDescriptors(t *testing.T, spare int, f func() (net.Conn, error)) (net.Conn, error) {
	t.Helper()
	next, err := unix.Dup(1)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(next + spare), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	}()
	return f()
}

// isErrno reports whether an error is a *net.OpError around the errno.
func isErrno(err error, errno syscall.Errno) bool {
	var op *net.OpError
	return errors.As(err, &op) && errors.Is(err, errno)
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

// A listener whose daemon hangs can be closed all the same.
func TestAListenerClosesBesideAHangingDaemon(t *testing.T) {
	stop := make(chan struct{})
	d := fakeDoor(t, func(c *net.UnixConn) {
		hybrid.ReadLine(c)
		io.WriteString(c, "OK 7\n")
		<-stop
	})
	defer close(stop)
	l, err := d.Listen(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() { _, err := l.Accept(); failed <- err }()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept gives %v", err)
	}
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a second Close gives %v", err)
	}
}
