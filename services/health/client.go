package health

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net"
	"time"

	"xvsock/services"
	"xvsock/services/varlink"
)

// replyTime is how long the first reply may take, unless the context or the limits
// say otherwise.
const replyTime = 10 * time.Second

// Client asks a health service over one connection, one call at a time. An error
// reply is returned as a *varlink.Error, for errors.Is; an answer that breaks a rule
// as an error that wraps ErrPeer or varlink.ErrMalformed, and then nothing of it is
// used.
type Client struct{ varlink varlink.Caller }

// NewClient returns a client that owns the connection.
func NewClient(conn net.Conn, l varlink.Limits) *Client {
	l.Idle = cmp.Or(l.Idle, replyTime)
	return &Client{varlink.NewClient(conn, l)}
}

// Over returns a client whose calls c makes.
func Over(c varlink.Caller) *Client { return &Client{c} }

// Close closes the connection.
func (c *Client) Close() error { return c.varlink.Close() }

// Check returns the state of a service, services.Unknown if there is none that this
// domain may know of; "" asks about the whole domain.
func (c *Client) Check(ctx context.Context, service string) (services.State, error) {
	var out answer
	if err := c.varlink.Call(ctx, MethodCheck, question{service}, &out); err != nil {
		return "", err
	}
	return out.check(service)
}

// List returns all services that this domain may know of, by name.
func (c *Client) List(ctx context.Context) ([]Health, error) {
	var out listing
	if err := c.varlink.Call(ctx, MethodList, nil, &out); err != nil {
		return nil, err
	}
	if len(out.Services) > services.MaxServices {
		return nil, fmt.Errorf("%w: %d services", ErrPeer, len(out.Services))
	}
	for _, h := range out.Services {
		i := services.Info{Name: h.Name, Port: h.Port}
		if err := i.Check(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPeer, err)
		}
		if !h.State.Valid() {
			return nil, fmt.Errorf("%w: state %.32q", ErrPeer, h.State)
		}
	}
	return out.Services, nil
}

// Watch yields the state of a service, or of the whole domain for "": as it is, and
// after each change, for as long as ctx allows. An error is yielded last. The client
// can make no other call until the loop is left, and none after.
func (c *Client) Watch(ctx context.Context, service string) iter.Seq2[services.State, error] {
	return func(yield func(services.State, error) bool) {
		for raw, err := range c.varlink.Stream(ctx, MethodWatch, question{service}) {
			var out answer
			var state services.State
			if err == nil {
				err = varlink.UnmarshalGrowing(raw, &out)
			}
			if err == nil {
				state, err = out.check(service)
			}
			if !yield(state, err) || err != nil {
				return
			}
		}
	}
}

// check returns the state if it can be that of a service, or of the whole domain for
// "", which is not unknown.
func (a answer) check(service string) (services.State, error) {
	if a.State.Valid() || a.State == services.Unknown && service != "" {
		return a.State, nil
	}
	return "", fmt.Errorf("%w: state %.32q", ErrPeer, a.State)
}
