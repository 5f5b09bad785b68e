package vsock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"xvsock/mux"
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

// connError wraps what a connection, or the attempt to make one, reported in a
// *net.OpError with both addresses. It returns nil for nil, and io.EOF as it is,
// as every net.Conn does.
func connError(op string, err error, local, remote Addr) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: network, Source: local, Addr: remote, Err: bare(err)}
}

// listenError wraps what a listener reported. As with every net.Listener, Addr is
// the address listened on and there is no Source.
func listenError(op string, err error, addr Addr) error {
	return &net.OpError{Op: op, Net: network, Addr: addr, Err: err}
}

// bare is err as it stands in a *net.OpError.
func bare(err error) error {
	var reset *mux.ResetError
	if errors.As(err, &reset) {
		return &errnoError{err: reset, errno: reset.Errno()}
	}
	return err
}

// errnoError is an error that unwraps to its errno alone. The text says why a link
// ended, or was not made, but the chain of that cause holds errors of other
// things, such as the io.EOF of the connection to port 1 or of xenstore: whoever
// asks errors.Is(err, io.EOF) must not take a loss for the end of the stream.
type errnoError struct {
	err   error
	errno syscall.Errno
}

// Error implements error.
func (e *errnoError) Error() string { return e.err.Error() }

// Unwrap returns the errno that a socket program expects.
func (e *errnoError) Unwrap() error { return e.errno }

// brokerError is what a Broker reported, as Dial returns it.
func brokerError(err error) error {
	errno := syscall.EHOSTUNREACH
	errors.As(err, &errno)
	return &errnoError{err: err, errno: errno}
}

// dialError says why a Dial failed: what the other side or its link said, else
// that ctx ended, as ETIMEDOUT or as context.Canceled with its cause.
func dialError(ctx context.Context, err error) error {
	var reset *mux.ResetError
	ended := ctx.Err()
	switch {
	case ended == nil, errors.As(err, &reset) && !reset.Unsent:
		return err
	case errors.Is(ended, context.DeadlineExceeded):
		return syscall.ETIMEDOUT // what connect says when nobody answers
	}
	if cause := context.Cause(ctx); cause != ended {
		return fmt.Errorf("%w: %w", ended, cause)
	}
	return ended
}
