package cli

import (
	"context"
	"encoding/json"

	"xvsock/bridge"
	"xvsock/daemon"
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

// question is a call of a service of some domain, which this domain's daemon makes as
// the domain's root.
type question struct {
	domain string
	port   uint32
	method string
	in     any // parameters; nil: none
}

// args are the question as the daemon takes it.
func (q question) args() (daemon.AskArgs, error) {
	args := daemon.AskArgs{Domain: q.domain, Port: q.port, Method: q.method}
	if q.in == nil {
		return args, nil
	}
	parameters, err := json.Marshal(q.in)
	args.Parameters = parameters
	return args, err
}

// ask asks a question that has one answer.
func (a *app) ask(ctx context.Context, q question, out any) error {
	args, err := q.args()
	if err != nil {
		return err
	}
	return a.call(ctx, daemon.MethodAsk, args, out)
}

// askStream asks a question that has several answers, and gives each to each. What
// ends them is empty and not given.
func (a *app) askStream(ctx context.Context, q question, each func(json.RawMessage) error) error {
	args, err := q.args()
	if err != nil {
		return err
	}
	return a.stream(ctx, daemon.MethodAsk, args, func(part json.RawMessage) error {
		if len(part) <= len("{}") {
			return nil
		}
		return each(part)
	})
}
