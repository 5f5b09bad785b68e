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
	"syscall"

	"xvsock/services/varlink"
)

// ControlPath is where the daemon of a domain listens for its control
// connections.
const ControlPath = "/run/xvsock/control"

// Errors of DialControl.
var (
	// ErrNoDaemon says that no daemon answers at the control socket.
	ErrNoDaemon = errors.New("no xvsock daemon answers")
	// ErrNotAllowed says that the control socket is not for this user.
	ErrNotAllowed = errors.New("only root and the group " + Group + " may ask the daemon")
)

// DialControl connects to the daemon of this domain. The error wraps ErrNoDaemon
// when there is none, or ErrNotAllowed.
func DialControl(path string) (*varlink.Client, error) {
	c, err := net.Dial("unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w at %s: start `xvsock backend` or `xvsock domain`", ErrNoDaemon, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w at %s", ErrNotAllowed, path)
	case err != nil:
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	return varlink.NewClient(c, varlink.Limits{}), nil
}
