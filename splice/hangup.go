package splice

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// errNotUnix says that a connection does not tell more than the end of a direction.
var errNotUnix = errors.New("not a unix socket")

// AwaitHangUp waits until whoever has the other end of a unix socket has closed it,
// which a shutdown of its sending is not, and returns nil; what was sent before may be
// unread. It returns an error at once for a connection of another kind, and one when c is
// closed or its read deadline passes. Nobody else reads from c meanwhile: a Read would
// wait too.
func AwaitHangUp(c net.Conn) error {
	s, ok := c.(syscall.Conn)
	if !ok {
		return errNotUnix
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Read(func(fd uintptr) (done bool) {
		var hung bool
		hung, failed = hungUp(int(fd))
		return hung || failed != nil
	})
	return errors.Join(err, failed)
}

// hungUp looks whether the other end is closed. The kernel tells the poller of any
// change, so this is asked once for each and never in a loop.
func hungUp(fd int) (bool, error) {
	if family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || family != unix.AF_UNIX {
		return false, errors.Join(err, errNotUnix)
	}
	p := []unix.PollFd{{Fd: int32(fd)}} // POLLHUP and POLLERR are always told
	for {
		switch _, err := unix.Poll(p, 0); err {
		case nil:
			return p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0, nil
		case unix.EINTR:
		default:
			return false, err
		}
	}
}
