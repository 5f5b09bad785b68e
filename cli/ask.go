package cli

import (
	"context"
	"encoding/json"
	"iter"

	"xvsock/bridge"
	"xvsock/daemon"
	"xvsock/services"
	"xvsock/services/control"
	"xvsock/services/health"
	"xvsock/services/logs"
	"xvsock/services/varlink"
)

// stream calls a method of this domain's daemon with more set, and gives each reply
// to each.
func (a *app) stream(ctx context.Context, method string, in any, each func(json.RawMessage) error) error {
	c, err := bridge.DialControl(a.control)
	if err != nil {
		return err
	}
	defer c.Close()
	for part, err := range c.Stream(ctx, method, in) {
		if err == nil {
			err = each(part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// asker makes calls of a service of some domain, which this domain's daemon passes on
// as the domain's root. What is answered is the other domain's word: the clients over
// an asker bound and check it. It implements varlink.Caller.
type asker struct {
	*varlink.Client // of the daemon
	domain          string
	port            uint32
}

var _ varlink.Caller = (*asker)(nil)

// asking returns the asker of a port. It is closed by the client over it.
func (a *app) asking(domain string, port uint32) (*asker, error) {
	c, err := bridge.DialControl(a.control)
	if err != nil {
		return nil, err
	}
	return &asker{Client: c, domain: domain, port: port}, nil
}

// args are a call as the daemon takes it.
func (q *asker) args(method string, in any) (daemon.AskArgs, error) {
	args := daemon.AskArgs{Domain: q.domain, Port: q.port, Method: method}
	if in == nil {
		return args, nil
	}
	parameters, err := json.Marshal(in)
	args.Parameters = parameters
	return args, err
}

// Call implements varlink.Caller.
func (q *asker) Call(ctx context.Context, method string, in, out any) error {
	args, err := q.args(method, in)
	if err != nil {
		return err
	}
	return q.Client.Call(ctx, daemon.MethodAsk, args, out)
}

// Stream implements varlink.Caller.
func (q *asker) Stream(ctx context.Context, method string, in any) iter.Seq2[json.RawMessage, error] {
	args, err := q.args(method, in)
	if err != nil {
		return func(yield func(json.RawMessage, error) bool) { yield(nil, err) }
	}
	return q.Client.Stream(ctx, daemon.MethodAsk, args)
}

// withControl has f give orders to a domain.
func (a *app) withControl(domain string, f func(*control.Client) error) error {
	q, err := a.asking(domain, services.PortControl)
	if err != nil {
		return err
	}
	defer q.Close()
	return f(control.Over(q))
}

// withHealth has f ask for a domain's health.
func (a *app) withHealth(domain string, f func(*health.Client) error) error {
	q, err := a.asking(domain, services.PortHealth)
	if err != nil {
		return err
	}
	defer q.Close()
	return f(health.Over(q))
}

// withLog has f read a domain's log.
func (a *app) withLog(domain string, f func(*logs.Client) error) error {
	q, err := a.asking(domain, services.PortLog)
	if err != nil {
		return err
	}
	defer q.Close()
	return f(logs.Over(q))
}
