// Package bridge is how other programs of the same domain reach the daemon that
// owns the domain's links.
//
// The control socket is for the command line, for /sbin/poweroff and for other
// programs of the domain's root: it speaks the JSON of port 2 (services/varlink).
package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"xvsock/services/varlink"
)

// ControlPath is where the daemon of a domain listens for its control
// connections.
const ControlPath = "/run/xvsock/control"

// controlGroup is the group that may use the control socket beside root, where
// the domain has it.
const controlGroup = "xvsock"

// ErrNoDaemon says that no daemon answers at the control socket.
var ErrNoDaemon = errors.New("no xvsock daemon answers")

// ListenControl makes the control socket at path and its directory, for root and
// the group xvsock alone. A socket that nobody listens on any more is replaced;
// one that a daemon still listens on is an error.
func ListenControl(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make directory of the control socket: %w", err)
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("another daemon listens on %s: %w", path, syscall.EADDRINUSE)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old control socket: %w", err)
	}
	l, err := listenPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	return l, nil
}

// listenPrivate makes the socket under another name, so that it has its final
// rights from the first moment that it can be found.
func listenPrivate(path string) (_ net.Listener, err error) {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	defer func() {
		if err != nil {
			l.Close()
			os.Remove(fresh)
		}
	}()
	if err := os.Chmod(fresh, 0o660); err != nil {
		return nil, err
	}
	if g, err := user.LookupGroup(controlGroup); err == nil {
		if gid, err := strconv.Atoi(g.Gid); err == nil {
			// Without the right to do this the socket stays the owner's.
			os.Chown(fresh, -1, gid)
		}
	}
	return l, os.Rename(fresh, path)
}

// DialControl connects to the daemon of this domain. The error wraps ErrNoDaemon
// when there is none.
func DialControl(path string) (*varlink.Client, error) {
	c, err := net.Dial("unix", path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w at %s: start `xvsock backend` or `xvsock domain`", ErrNoDaemon, path)
	}
	if err != nil {
		return nil, err
	}
	return varlink.NewClient(c, varlink.Limits{}), nil
}
