package payload

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// inlet is the listening socket of an exec-once program. It has a name because there
// is no other way to connect to it; the name lies in a directory of mode 0700.
type inlet struct {
	dir, path string
	socket    *os.File
}

// newInlet listens in a new directory below dir.
func newInlet(dir string) (*inlet, error) {
	where := []string{dir}
	if dir == "" {
		where = []string{"/run/xvsock", "/run", os.TempDir()}
	}
	var errs []error
	for _, d := range where {
		private, err := os.MkdirTemp(d, "payload-")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		i, err := listenIn(private)
		if err != nil {
			os.RemoveAll(private)
			return nil, fmt.Errorf("make the program's socket: %w", err)
		}
		return i, nil
	}
	return nil, fmt.Errorf("make a directory for the program's socket: %w", errors.Join(errs...))
}

func listenIn(dir string) (*inlet, error) {
	i := &inlet{dir: dir, path: filepath.Join(dir, "socket")}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: i.path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	if i.socket, err = l.File(); err != nil {
		return nil, err
	}
	return i, i.block()
}

// block makes the socket an ordinary one, as programs expect that know nothing of Go.
func (i *inlet) block() error {
	raw, err := i.socket.SyscallConn()
	if err == nil {
		e := raw.Control(func(fd uintptr) { err = unix.SetNonblock(int(fd), false) })
		err = errors.Join(err, e)
	}
	if err != nil {
		i.socket.Close()
	}
	return err
}

// remove takes the name away. Connections go on.
func (i *inlet) remove() { os.RemoveAll(i.dir) }
