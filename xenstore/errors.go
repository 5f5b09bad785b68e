package xenstore

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

var (
	// ErrQuota is matched by the errors that xenstored gives when a quota of the
	// domain is used up: nodes, watches, transactions, or the size of a node
	// (ENOSPC and E2BIG of C xenstored, EQUOTA of oxenstored).
	ErrQuota = errors.New("xenstore quota of this domain is used up")
	// ErrTooLong says that a request was not sent because its payload does not
	// fit into a message.
	ErrTooLong = errors.New("xenstore request is too long")
	// ErrProtocol says that xenstored sent what the protocol does not allow.
	ErrProtocol = errors.New("xenstore protocol violation")
	// ErrLost says that the connection to xenstored has broken.
	ErrLost = errors.New("connection to xenstored lost")
	// ErrClosed says that this end was closed: a Client, or a Tx whose
	// transaction has ended. It wraps fs.ErrClosed.
	ErrClosed = fmt.Errorf("xenstore: %w", fs.ErrClosed)
)

// Error is a failed request. errors.Is sees the reason through it:
// fs.ErrNotExist, fs.ErrPermission, ErrQuota, ErrLost, ErrClosed, the context's
// error, or the syscall.Errno that xenstored gave.
type Error struct {
	Op   Op
	Path string // of the node, or "" where there is none
	Err  error
}

// Error implements error. The path is quoted: it may be the peer's text.
func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("xenstore %v: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("xenstore %v %q: %v", e.Op, e.Path, e.Err)
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Is lets errors.Is find ErrQuota.
func (e *Error) Is(target error) bool {
	if target != ErrQuota {
		return false
	}
	errno, ok := e.Err.(syscall.Errno)
	return ok && (errno == syscall.ENOSPC || errno == syscall.E2BIG || errno == syscall.EDQUOT)
}

// errnoName is one entry of the wire's error table.
type errnoName struct {
	errno syscall.Errno
	name  string
}

// errnoNames holds the errors of xs_wire.h, and at the end the one that only
// oxenstored sends. Errors travel as names because their numbers differ between
// operating systems.
func errnoNames() [17]errnoName {
	return [...]errnoName{
		{syscall.EINVAL, "EINVAL"}, {syscall.EACCES, "EACCES"}, {syscall.EEXIST, "EEXIST"},
		{syscall.EISDIR, "EISDIR"}, {syscall.ENOENT, "ENOENT"}, {syscall.ENOMEM, "ENOMEM"},
		{syscall.ENOSPC, "ENOSPC"}, {syscall.EIO, "EIO"}, {syscall.ENOTEMPTY, "ENOTEMPTY"},
		{syscall.ENOSYS, "ENOSYS"}, {syscall.EROFS, "EROFS"}, {syscall.EBUSY, "EBUSY"},
		{syscall.EAGAIN, "EAGAIN"}, {syscall.EISCONN, "EISCONN"}, {syscall.E2BIG, "E2BIG"},
		{syscall.EPERM, "EPERM"}, {syscall.EDQUOT, "EQUOTA"},
	}
}

// ParseErrno is the error that a name on the wire stands for. A name that is not
// in xs_wire.h gives an error that shows the name.
func ParseErrno(name string) error {
	for _, e := range errnoNames() {
		if e.name == name {
			return e.errno
		}
	}
	return fmt.Errorf("unknown error %.32q", name)
}

// ErrnoName is the name of err on the wire. An error that has none is EINVAL, as
// with C xenstored.
func ErrnoName(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		for _, e := range errnoNames() {
			if e.errno == errno {
				return e.name
			}
		}
	}
	return "EINVAL"
}
