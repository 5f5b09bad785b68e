package varlink

import (
	"context"
	"encoding/json"
	"errors"
)

// A Handler answers calls of one connection. It is called for one call at a
// time.
type Handler interface {
	// ServeCall answers a call. The result, which is marshalled as a JSON
	// object (nil: an empty one), is the last reply; an error that wraps an
	// *Error is sent as it is, any other is logged and hidden behind Internal.
	// ctx is done when the connection ends; for a call with More also when the
	// caller stops sending.
	ServeCall(ctx context.Context, call *Call) (result any, err error)
}

// Methods is a Handler that goes by the method's full name.
type Methods map[string]func(ctx context.Context, call *Call) (any, error)

// ServeCall implements Handler. An unknown method is MethodNotFound.
func (m Methods) ServeCall(ctx context.Context, call *Call) (any, error) {
	if f, known := m[call.Method]; known {
		return f(ctx, call)
	}
	return nil, NewError(MethodNotFound, struct {
		Method string `json:"method"`
	}{call.Method})
}

// Call is a call as it came in.
type Call struct {
	Method string
	More   bool // the caller takes several replies

	parameters json.RawMessage
	send       func(reply) error
}

// Decode fills what v points to from the call's parameters, by the rules of
// Unmarshal; no parameters are an empty object. The error is the reply to send.
func (c *Call) Decode(v any) error {
	if len(c.parameters) == 0 {
		return nil
	}
	if err := Unmarshal(c.parameters, v); err != nil {
		return Invalid("parameters")
	}
	return nil
}

// Send sends a reply that another one follows. It waits for the peer up to the
// write deadline; the error ends the connection. Only a call with More may be
// answered so.
func (c *Call) Send(v any) error {
	if !c.More {
		return &Error{Name: ExpectedMore}
	}
	return c.send(reply{Parameters: v, Continues: true})
}

// request is a call on the wire.
type request struct {
	Method     string          `json:"method"`
	Parameters json.RawMessage `json:"parameters,omitempty"`
	More       bool            `json:"more,omitempty"`
	Oneway     bool            `json:"oneway,omitempty"`
}

// reply is an answer on the wire, as it is sent.
type reply struct {
	Error      string `json:"error,omitempty"`
	Parameters any    `json:"parameters,omitempty"`
	Continues  bool   `json:"continues,omitempty"`
}

// answer is a reply as it is received.
type answer struct {
	Error      string          `json:"error"`
	Parameters json.RawMessage `json:"parameters"`
	Continues  bool            `json:"continues"`
}

var errNotObject = errors.New("parameters are not an object")

const maxName = 255 // of a method or an error, in bytes

func parseRequest(data []byte) (request, error) {
	var r request
	if err := Unmarshal(data, &r); err != nil {
		return r, err
	}
	if !qualified(r.Method) {
		return r, ErrMalformed
	}
	return r, object(r.Parameters)
}

func parseAnswer(data []byte) (answer, error) {
	var a answer
	if err := Unmarshal(data, &a); err != nil {
		return a, err
	}
	if a.Error != "" && (!qualified(a.Error) || a.Continues) {
		return a, ErrMalformed
	}
	return a, object(a.Parameters)
}

// object reports whether parameters, if given, are a JSON object.
func object(p json.RawMessage) error {
	if len(p) > 0 && p[0] != '{' {
		return errors.Join(ErrMalformed, errNotObject)
	}
	return nil
}

// qualified reports whether s can be the full name of a method or an error:
// an interface in reverse-domain form, a dot and a name.
func qualified(s string) bool {
	if len(s) == 0 || len(s) > maxName {
		return false
	}
	dots, last := 0, byte('.')
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '.' && last != '.':
			dots++
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-' && last != '.', c == '_':
		default:
			return false
		}
		last = c
	}
	return dots > 0 && last != '.'
}
