package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxUnixPath is the most bytes of a unix socket's path (sun_path in unix(7), with its
// NUL).
const maxUnixPath = 107

// unixEnd is a unix socket.
type unixEnd struct {
	path string
	mode fs.FileMode // of one that is listened at
}

// parseUnix reads the path of a unix socket. It is absolute, so that it means the same
// to all, and so that none is of the abstract kind, which has no mode.
func parseUnix(path string, mode fs.FileMode) (*unixEnd, error) {
	switch {
	case !filepath.IsAbs(path):
		return nil, fmt.Errorf("unix:%.80s: use an absolute path, such as unix:/run/db.sock", path)
	case strings.ContainsRune(path, 0):
		return nil, fmt.Errorf("unix:%.80q: no path has a NUL", path)
	case len(path) > maxUnixPath:
		return nil, fmt.Errorf("unix:%.40s...: longer than the %d bytes that the path of a socket may have", path, maxUnixPath)
	}
	return &unixEnd{path, mode}, nil
}

// String implements fmt.Stringer.
func (e *unixEnd) String() string { return "unix:" + e.path }

func (e *unixEnd) dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", e.path)
}

// listen makes the socket, with its mode from the first moment. One that nobody listens
// at any more is replaced; anything else at the path stays and is an error.
func (e *unixEnd) listen(ctx context.Context) (net.Listener, error) {
	l, err := e.bind(ctx)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	if err := e.clear(); err != nil {
		return nil, err
	}
	return e.bind(ctx)
}

// bind makes the socket where nothing is.
func (e *unixEnd) bind(ctx context.Context) (_ net.Listener, err error) {
	// What is set of the socket before bind is what the file begins with, less what the
	// umask takes (unix_bind in net/unix/af_unix.c).
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), uint32(e.mode.Perm())) })
		return errors.Join(err, failed)
	}}
	listener, err := config.Listen(ctx, "unix", e.path)
	if err != nil {
		return nil, err
	}
	l := listener.(*net.UnixListener)
	l.SetUnlinkOnClose(false) // by then it may be another's
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	own, err := os.Lstat(e.path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(e.path, e.mode.Perm()); err != nil {
		os.Remove(e.path)
		return nil, err
	}
	return &unixListener{UnixListener: l, path: e.path, own: own}, nil
}

// clear removes a socket that nobody listens at.
func (e *unixEnd) clear() error {
	found, err := os.Lstat(e.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if found.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is no socket: remove it, or use another path", e.path)
	}
	c, err := net.Dial("unix", e.path)
	if err == nil {
		c.Close()
		return fmt.Errorf("another program listens at %s: end it, or use another path", e.path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return removeSame(e.path, found)
}

// removeSame removes the file at path if it is still the one that was found.
func removeSame(path string, found fs.FileInfo) error {
	now, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(found, now) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(path)
}

// unixListener is a unix socket whose file goes with it.
type unixListener struct {
	*net.UnixListener
	path string
	own  fs.FileInfo
	once sync.Once
}

// Close implements net.Listener. When any call of it has returned the file is gone.
func (l *unixListener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() { err = errors.Join(l.UnixListener.Close(), removeSame(l.path, l.own)) })
	return err
}
