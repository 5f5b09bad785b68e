package link

import (
	"errors"
	"fmt"
	"syscall"

	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/ring"
	"xvsock/xen"
)

// Cause is the kind of end that a link came to (design, section 4, "How a link
// ends"). It decides when the link may be made again.
type Cause uint8

const (
	// Closed: this side ended the link in order.
	Closed Cause = iota
	// Lost: the other side has gone away, or says so. The link may be made
	// again at once.
	Lost
	// Silent: nothing has moved for long on a link with open connections,
	// although asked. Treated as Lost.
	Silent
	// Broken: a word, a frame or a message of the other side was a lie. The
	// link is not made again for 30 s (rule R5).
	Broken
)

// String returns the cause as it stands in logs and in status.
func (c Cause) String() string {
	switch c {
	case Closed:
		return "closed"
	case Lost:
		return "lost"
	case Silent:
		return "silent"
	}
	return "broken"
}

// Error says why a link has ended. Its text may quote numbers from the other
// side, never its bytes.
type Error struct {
	Cause Cause
	Peer  xen.DomID
	Err   error // the first thing that was wrong; nil for an orderly end
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("link to domain %v %v", e.Peer, e.Cause)
	}
	return fmt.Sprintf("link to domain %v %v: %v", e.Peer, e.Cause, e.Err)
}

// Unwrap returns what was wrong.
func (e *Error) Unwrap() error { return e.Err }

// CauseOf returns the cause of the first *Error in err's chain, and Lost for any
// other error.
func CauseOf(err error) Cause {
	var e *Error
	if errors.As(err, &e) {
		return e.Cause
	}
	return Lost
}

// asError returns err as an *Error that ended a link, or the attempt to make one,
// to peer.
func asError(peer xen.DomID, err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &Error{Cause: causeOf(err), Peer: peer, Err: err}
}

// lie is an error that ends the attempt to make a link to peer as Broken.
func lie(peer xen.DomID, format string, args ...any) error {
	return &Error{Cause: Broken, Peer: peer, Err: fmt.Errorf(format, args...)}
}

// ErrForbidden says that the hypervisor's own policy keeps the two domains apart:
// with XSM in the mode silo no domU reaches another. Neither side has lied.
var ErrForbidden = errors.New("hypervisor forbids (XSM)")

// forbidden returns err, as one that wraps ErrForbidden if it says what Xen says
// for XSM alone: EPERM from event channels, GNTST_permission_denied from copies.
func forbidden(err error) error {
	if errors.Is(err, syscall.EPERM) || errors.Is(err, grant.StatusPermissionDenied) {
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	return err
}

// ErrResumed ends what a domain had before it was suspended. As the cause of the
// context that a Front runs in, it ends the link as Lost, and says nothing to the
// other half: that belongs to what the domain was before.
var ErrResumed = fmt.Errorf("this domain was resumed: %w", evtchn.ErrAbandoned)

// causeOf classifies what the layers below report. A copy from a revoked page or
// from a dead domain is an end, not a lie; a copy that fails in another way was
// asked of a reference that the other side gave and that was never good.
func causeOf(err error) Cause {
	if errors.Is(err, ErrForbidden) {
		return Lost
	}
	var lie *ring.LieError
	if errors.As(err, &lie) {
		return Broken
	}
	var status grant.Status
	if errors.As(err, &status) && !status.Gone() {
		return Broken
	}
	return Lost
}
