package control

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"time"

	"xvsock/services"
	"xvsock/services/varlink"
)

const (
	replyTime = 10 * time.Second // for the first reply, unless the context or the limits say otherwise
	listTime  = 30 * time.Second // for a whole answer in parts, at most
	maxValues = 4096             // values and problems of an answer
)

// Client gives orders over one connection, one call at a time. An error reply is
// returned as a *varlink.Error, for errors.Is with the errors of this package; an
// answer that breaks a rule as an error that wraps ErrPeer or varlink.ErrMalformed,
// and then nothing of it is used. The texts of answers are the domain's, and fit to
// be shown.
type Client struct{ varlink varlink.Caller }

// NewClient returns a client that owns the connection, which comes from a source
// port below 1024.
func NewClient(conn net.Conn, l varlink.Limits) *Client {
	l.Idle = cmp.Or(l.Idle, replyTime)
	return &Client{varlink.NewClient(conn, l)}
}

// Over returns a client whose calls c makes.
func Over(c varlink.Caller) *Client { return &Client{c} }

// Close closes the connection.
func (c *Client) Close() error { return c.varlink.Close() }

// Status returns how the domain is, a JSON object. It is the domain's word alone:
// its texts may hold anything.
func (c *Client) Status(ctx context.Context) (json.RawMessage, error) {
	var out statusAnswer
	if err := c.varlink.Call(ctx, MethodStatus, nil, &out); err != nil {
		return nil, err
	}
	if len(out.Status) == 0 || out.Status[0] != '{' {
		return nil, fmt.Errorf("%w: status is no object", ErrPeer)
	}
	return out.Status, nil
}

// Config returns what the domain was told, a key once.
func (c *Client) Config(ctx context.Context) (Settings, error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	var all Settings
	count, replies := 0, 0
	for raw, err := range c.varlink.Stream(ctx, MethodConfig, nil) {
		if err != nil {
			return Settings{}, err
		}
		var part Settings
		if err := varlink.UnmarshalGrowing(raw, &part); err != nil {
			return Settings{}, err
		}
		size := part.count()
		// Only the first reply may be empty: empty ones might have no end.
		if replies++; replies > 1 && size == 0 || count+size > maxValues {
			return Settings{}, fmt.Errorf("%w: more than %d values, or endless", ErrPeer, maxValues)
		}
		count += size
		if err := part.check(); err != nil {
			return Settings{}, err
		}
		all.add(part)
	}
	return all, nil
}

// Services returns the supervised services.
func (c *Client) Services(ctx context.Context) ([]ServiceStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	var all []ServiceStatus
	replies := 0
	for raw, err := range c.varlink.Stream(ctx, MethodServices, nil) {
		if err != nil {
			return nil, err
		}
		var part listing
		if err := varlink.UnmarshalGrowing(raw, &part); err != nil {
			return nil, err
		}
		if replies++; replies > 1 && len(part.Services) == 0 || len(all)+len(part.Services) > services.MaxServices {
			return nil, fmt.Errorf("%w: more than %d services, or endless", ErrPeer, services.MaxServices)
		}
		for _, s := range part.Services {
			if err := s.check(); err != nil {
				return nil, err
			}
		}
		all = append(all, part.Services...)
	}
	return all, nil
}

// SetLog sets the level of the domain's log: one of slog's four named levels.
func (c *Client) SetLog(ctx context.Context, level slog.Level) error {
	text := formatLevel(level)
	return c.varlink.Call(ctx, MethodSetLog, setLog{&text}, nil)
}

// Restart ends a service, which is started again at once.
func (c *Client) Restart(ctx context.Context, service string) error {
	return c.varlink.Call(ctx, MethodRestart, restart{&service}, nil)
}

// Shutdown ends the domain, or has it start anew.
func (c *Client) Shutdown(ctx context.Context, reboot bool) error {
	return c.varlink.Call(ctx, MethodShutdown, shutdown{&reboot}, nil)
}

// count is how much there is of s: entries, values and problems.
func (s Settings) count() int {
	n := len(s.Values) + len(s.Problems)
	for _, v := range s.Values {
		n += len(v.Values)
	}
	return n
}

// check returns an error if a text is not fit to be shown.
func (s Settings) check() error {
	texts := append([]string{}, s.Problems...)
	for _, v := range s.Values {
		texts = append(append(texts, v.Key, v.Origin), v.Values...)
	}
	for _, text := range texts {
		if !showable(text) {
			return fmt.Errorf("%w: text not fit to be shown", ErrPeer)
		}
	}
	return nil
}

// add appends a part, and joins entries of one key that follow each other.
func (s *Settings) add(part Settings) {
	s.Problems = append(s.Problems, part.Problems...)
	for _, v := range part.Values {
		if n := len(s.Values); n > 0 && s.Values[n-1].Key == v.Key && s.Values[n-1].Origin == v.Origin {
			s.Values[n-1].Values = append(s.Values[n-1].Values, v.Values...)
			continue
		}
		s.Values = append(s.Values, v)
	}
}

// check returns an error if a status received from a peer breaks a rule.
func (s ServiceStatus) check() error {
	i := services.Info{Name: s.Name, Port: s.Port}
	if err := i.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrPeer, err)
	}
	if !s.State.Valid() || !showable(s.Error) {
		return fmt.Errorf("%w: state or error of %s", ErrPeer, s.Name)
	}
	return nil
}
