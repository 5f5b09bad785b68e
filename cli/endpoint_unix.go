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

	"xvsock/bridge"
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
// at any more is replaced; anything else at the path stays and is an error. Whoever does
// so holds the lock beside it, so that of two that find the same socket one has it.
func (e *unixEnd) listen(context.Context) (net.Listener, error) {
	// A directory that is not there is more often a slip than meant to be made.
	if _, err := os.Stat(filepath.Dir(e.path)); err != nil {
		return nil, err
	}
	l, err := bridge.Listen(e.path, bridge.Access{Mode: e.mode.Perm()})
	if errors.Is(err, bridge.ErrInUse) {
		return nil, fmt.Errorf("another program listens at %s: end it, or use another path", e.path)
	}
	if err != nil {
		return nil, err
	}
	own, err := os.Lstat(e.path)
	if err != nil {
		l.Close()
		return nil, err
	}
	return &unixListener{Listener: l, path: e.path, own: own}, nil
}

// unixListener is a unix socket whose file goes with it, as long as it is there.
type unixListener struct {
	*bridge.Listener
	path string
	own  fs.FileInfo
	once sync.Once
}

// Addr implements net.Listener. The socket was made under another name.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close implements net.Listener. When any call of it has returned the file is gone. What
// others have put in its place stays, and the lock then goes with the process.
func (l *unixListener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		if now, failed := os.Lstat(l.path); failed == nil && os.SameFile(l.own, now) {
			err = l.Listener.Close()
			return
		}
		err = l.UnixListener.Close()
	})
	return err
}
