package vsock

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
)

// The operations that errors name.
const (
	opDial   = "dial"
	opListen = "listen"
	opAccept = "accept"
	opRead   = "read"
	opWrite  = "write"
	opClose  = "close"
	opSet    = "set"
)

// opError wraps err in a *net.OpError. It returns nil for nil, and io.EOF as it
// is, as every net.Conn does.
func opError(op string, err error, local, remote net.Addr) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.Is(err, context.DeadlineExceeded):
		// What a socket's connect says when nobody answers.
		err = syscall.ETIMEDOUT
	}
	return &net.OpError{Op: op, Net: "vsock", Source: local, Addr: remote, Err: err}
}
