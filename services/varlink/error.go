package varlink

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Names of errors. The first ones are those of org.varlink.service, the others
// concern the connection, which ends after them.
const (
	MethodNotFound    = "org.varlink.service.MethodNotFound"
	InterfaceNotFound = "org.varlink.service.InterfaceNotFound"
	InvalidParameter  = "org.varlink.service.InvalidParameter"
	PermissionDenied  = "org.varlink.service.PermissionDenied"
	ExpectedMore      = "org.varlink.service.ExpectedMore"

	Internal        = "org.xvsock.Protocol.Internal"        // a fault of the service itself; the connection goes on
	Malformed       = "org.xvsock.Protocol.Malformed"       // not a call
	TooLarge        = "org.xvsock.Protocol.TooLarge"        // message over the size limit
	TooManyRequests = "org.xvsock.Protocol.TooManyRequests" // outstanding calls over the limit
	TimedOut        = "org.xvsock.Protocol.TimedOut"        // started message not completed in time
)

var (
	// ErrMalformed says that a message breaks the rules of this package.
	ErrMalformed = errors.New("malformed message")
	// ErrTooLarge says that a message is over the size limit.
	ErrTooLarge = errors.New("message too large")
	// ErrTimeout says that the peer did not do its part in time.
	ErrTimeout = errors.New("peer too slow")
	// ErrBroken says that a client's connection is of no use any more, because
	// an earlier call on it did not come to its end.
	ErrBroken = errors.New("connection broken by an earlier call")
)

// Error is an error reply: what a handler returns to send one, and what a
// client returns when it got one. Received parameters are the peer's text.
type Error struct {
	Name       string          // such as InvalidParameter
	Parameters json.RawMessage // a JSON object, or nil
}

// NewError returns an error reply. The parameters are marshalled as a JSON
// object; nil for none.
func NewError(name string, parameters any) *Error {
	e := &Error{Name: name}
	if parameters != nil {
		// What cannot be marshalled is a mistake in our own code; the name
		// alone still tells the peer.
		e.Parameters, _ = encode(parameters)
	}
	return e
}

// Error quotes the parameters, which may be a stranger's.
func (e *Error) Error() string {
	if len(e.Parameters) == 0 {
		return e.Name
	}
	return fmt.Sprintf("%s %.200q", e.Name, e.Parameters)
}

// Is reports whether target is an *Error of the same name, so that a value
// with a name alone serves errors.Is.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Name == e.Name
}

// Invalid returns the error reply for a parameter that is missing or wrong.
// The name is ours, never text of the peer.
func Invalid(parameter string) *Error {
	return NewError(InvalidParameter, struct {
		Parameter string `json:"parameter"`
	}{parameter})
}

// protocolError is the reply that tells a peer why its connection ends.
func protocolError(err error) *Error {
	switch {
	case errors.Is(err, ErrTooLarge):
		return &Error{Name: TooLarge}
	case errors.Is(err, ErrTimeout):
		return &Error{Name: TimedOut}
	case errors.Is(err, errTooMany):
		return &Error{Name: TooManyRequests}
	}
	return &Error{Name: Malformed}
}
