package hybrid

import (
	"fmt"
	"strings"
)

// Verb is what a client asks for.
type Verb string

// The verbs.
const (
	Connect Verb = "CONNECT"
	Listen  Verb = "LISTEN"
	Accept  Verb = "ACCEPT"
)

// Request is a client's line.
type Request struct {
	Verb Verb
	// Domain is who to connect to: a name, id, uuid, CID, "self" or "@backend". It is
	// empty at a peer's own socket, and with the other verbs.
	Domain string
	// Port is a number or a service's name; empty with Accept.
	Port string
}

// ParseRequest reads a line without its newline. The error wraps ErrLine, and is one
// line that says what would be right.
func ParseRequest(line string) (Request, error) {
	words := strings.Split(line, " ")
	r := Request{Verb: Verb(words[0])}
	args := words[1:]
	switch {
	case r.Verb == Connect && len(args) == 2:
		r.Domain, r.Port = args[0], args[1]
		if r.Domain == "" {
			return Request{}, fmt.Errorf("%w: no domain given", ErrLine)
		}
	case (r.Verb == Connect || r.Verb == Listen) && len(args) == 1:
		r.Port = args[0]
	case r.Verb == Accept && len(args) == 0:
	default:
		return Request{}, fmt.Errorf("%w: %.64q; say CONNECT [DOMAIN] PORT, LISTEN PORT or ACCEPT", ErrLine, line)
	}
	if err := r.check(); err != nil {
		return Request{}, err
	}
	return r, nil
}

// Line returns the line with its newline. The error wraps ErrLine if a field cannot be
// said, or all of them together are too long.
func (r Request) Line() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	line := []byte(r.Verb)
	for _, s := range []string{r.Domain, r.Port} {
		if s != "" {
			line = append(append(line, ' '), s...)
		}
	}
	if line = append(line, '\n'); len(line) > MaxLine {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrLine, MaxLine)
	}
	return line, nil
}

// check reports whether the fields are those of the verb.
func (r Request) check() error {
	switch r.Verb {
	case Accept:
		if r.Domain != "" || r.Port != "" {
			return fmt.Errorf("%w: ACCEPT takes no domain and no port", ErrLine)
		}
		return nil
	case Listen:
		if r.Domain != "" {
			return fmt.Errorf("%w: LISTEN takes no domain", ErrLine)
		}
	case Connect:
		if r.Domain != "" {
			if err := field("domain", r.Domain); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("%w: %.64q is no verb", ErrLine, string(r.Verb))
	}
	return field("port", r.Port)
}
