package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSocketPath is the most bytes of a unix socket's path (sun_path in unix(7),
// with its NUL), less what this package appends.
const maxSocketPath = 107 - len(freshSuffix)

const (
	freshSuffix = ".new"
	lockSuffix  = ".lock"
)

// ErrInUse says that another daemon listens on a socket.
var ErrInUse = errors.New("another daemon listens there")

// Group is the group that may use the daemon's sockets beside root, where the domain has
// it.
const Group = "xvsock"

// Access is who may connect to a socket: the file's rights, and its group.
type Access struct {
	Mode  fs.FileMode
	Group string // a name or a number; the owner's where the domain has no such name
}

// private is for root and the group xvsock alone.
var private = Access{Mode: 0o660, Group: Group}

// ListenControl makes the control socket at path and its directory, for root and the
// group xvsock alone. It is Listen otherwise.
func ListenControl(path string) (net.Listener, error) {
	l, err := Listen(path, private)
	if err != nil {
		return nil, fmt.Errorf("control socket %w", err)
	}
	return l, nil
}

// Listener is a daemon's socket and the lock that makes it the only one.
type Listener struct {
	*net.UnixListener
	path string
	lock *os.File
}

// Listen makes a socket at path and its directory. A socket that nobody listens on any
// more is replaced; one that a daemon still listens on gives an error that wraps
// ErrInUse; anything else at path stays and is an error. Closing the listener removes
// the socket. Errors begin with the path.
func Listen(path string, a Access) (_ *Listener, err error) {
	fail := func(err error) (*Listener, error) { return nil, fmt.Errorf("%s: %w", path, err) }
	if err := fits(path); err != nil {
		return fail(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fail(err)
	}
	lock, err := takeLock(path + lockSuffix)
	if err != nil {
		return fail(err)
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	if err := clearPath(path); err != nil {
		return fail(err)
	}
	l, err := ListenLocked(path, a)
	if err != nil {
		return fail(err)
	}
	return &Listener{UnixListener: l, path: path, lock: lock}, nil
}

// Close implements net.Listener. While the lock is held nobody else can have made
// a socket at the path.
func (l *Listener) Close() error {
	err := l.UnixListener.Close()
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	return errors.Join(err, os.Remove(l.path), l.lock.Close())
}

// takeLock makes this process the only one that serves the socket, until the file
// is closed: two daemons that start at once would both find nobody listening.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, err
	}
	return f, nil
}

// clearPath removes a socket that nobody listens on.
func clearPath(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("something that is no socket is there")
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return ErrInUse
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// ListenLocked makes a socket at a path which nobody else uses, as the holder of a lock
// knows, and replaces what is there. It makes it under another name, so that it has its
// final rights from the first moment that it can be found. Closing the listener leaves
// the socket.
func ListenLocked(path string, a Access) (_ *net.UnixListener, err error) {
	if err := fits(path); err != nil {
		return nil, err
	}
	fresh := path + freshSuffix
	if info, err := os.Lstat(fresh); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s is no socket, and in the way", fresh)
	}
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it will have another name
	defer func() {
		if err != nil {
			l.Close()
			os.Remove(fresh)
		}
	}()
	if err := a.grant(fresh); err != nil {
		return nil, err
	}
	return l, os.Rename(fresh, path)
}

// fits reports whether a socket can have the path.
func fits(path string) error {
	if len(path) > maxSocketPath {
		return fmt.Errorf("path is longer than %d bytes", maxSocketPath)
	}
	return nil
}

// grant gives a socket its rights. The group comes first, so that the mode is never for
// another.
func (a Access) grant(path string) error {
	if gid, ok := GroupID(a.Group); ok {
		// Without the right to do this the socket stays the owner's.
		_ = os.Chown(path, -1, gid)
	}
	return os.Chmod(path, a.Mode)
}

// GroupID returns the id of a group that the domain has, or else the number that its name
// is: a domain without /etc/group has ids alone.
func GroupID(name string) (gid int, ok bool) {
	text := name
	if g, err := user.LookupGroup(name); err == nil {
		text = g.Gid
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == math.MaxUint32 { // which is none to chown(2)
		return 0, false
	}
	return int(n), true
}
