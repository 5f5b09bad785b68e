package mux

import (
	"errors"
	"fmt"
	"syscall"
)

// Reason says why a connection was reset. It travels in the flags of RST.
type Reason uint32

// The reasons that RST may carry. A kernel behind a bridge sends ReasonNone only.
const (
	ReasonNone         Reason = iota // no reason given
	ReasonRefused                    // nobody listens, or the backlog is full
	ReasonDenied                     // policy allows another port, but not this one
	ReasonUnreachable                // no such domain, or nothing there is allowed
	ReasonBudget                     // out of memory or connections for this peer
	ReasonShuttingDown               // the other side is going away
	ReasonRevoked                    // policy allowed it once, and no longer does
	ReasonProtocol                   // the connection broke the protocol
	lastReason         = ReasonProtocol
)

var reasonNames = [...]string{
	ReasonNone:         "reset",
	ReasonRefused:      "refused",
	ReasonDenied:       "denied",
	ReasonUnreachable:  "unreachable",
	ReasonBudget:       "out of budget",
	ReasonShuttingDown: "shutting down",
	ReasonRevoked:      "revoked",
	ReasonProtocol:     "protocol error",
}

// String returns the reason in words.
func (r Reason) String() string {
	if r > lastReason {
		return fmt.Sprintf("reason %d", uint32(r))
	}
	return reasonNames[r]
}

// Errors of a link, handed to Transport.Fail and found in ResetError.Cause.
var (
	// ErrSilent is why a link ends on which the other side did not answer, or took
	// nothing out of its ring.
	ErrSilent = errors.New("link silent")
	// ErrSessionClosed is why a link ends after Session.Close.
	ErrSessionClosed = errors.New("session closed")
	// ErrIdle is why a link ends that had no connection for Config.Idle.
	ErrIdle = errors.New("link idle")
	// ErrBug is why a link ends whose pump panicked.
	ErrBug = errors.New("a bug of this program")
)

// ResetError is what Dial, Read and Write return when the connection was
// refused, reset by either side, or lost with its link. It unwraps to the errno
// that a socket program expects, and to Cause.
type ResetError struct {
	Reason Reason
	Dial   bool  // the answer to a REQUEST, not the end of a connection
	Unsent bool  // the link ended before it carried the REQUEST of a Dial
	Cause  error // why the link ended; nil if the link did not end
}

// Error implements error.
func (e *ResetError) Error() string {
	switch {
	case e.Cause != nil:
		return fmt.Sprintf("connection reset: %v", e.Cause)
	case e.Dial:
		return fmt.Sprintf("connection %v", e.Reason)
	case e.Reason == ReasonNone:
		return "connection reset"
	default:
		return fmt.Sprintf("connection reset: %v", e.Reason)
	}
}

// Errno is the error number a socket program expects: ECONNRESET for a
// connection that existed, else what connect(2) would say.
func (e *ResetError) Errno() syscall.Errno {
	if e.Cause != nil || !e.Dial {
		return syscall.ECONNRESET
	}
	switch e.Reason {
	case ReasonRefused, ReasonShuttingDown:
		return syscall.ECONNREFUSED
	case ReasonDenied, ReasonRevoked:
		return syscall.EACCES
	case ReasonUnreachable:
		return syscall.EHOSTUNREACH
	case ReasonBudget:
		return syscall.ENOBUFS
	case ReasonProtocol:
		return syscall.EPROTO
	default:
		return syscall.ECONNRESET
	}
}

// unsent is e for a connection of which the other side has not heard.
func (e *ResetError) unsent() *ResetError {
	return &ResetError{Cause: e.Cause, Unsent: true}
}

// Unwrap returns Errno, and Cause if there is one.
func (e *ResetError) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Errno()}
	}
	return []error{e.Errno(), e.Cause}
}
