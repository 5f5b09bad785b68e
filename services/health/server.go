package health

import (
	"context"
	"log/slog"

	"xvsock/services"
	"xvsock/services/rpc"
	"xvsock/services/varlink"
)

// watches is how many watches may be open in all.
const watches = 512

// Config is what a Server needs.
type Config struct {
	// Registry has the services that are answered for.
	Registry *services.Registry
	// Visible is the policy's answer to whether a caller may reach a service, and
	// so may know of it. It is called without locks held, for each service of each
	// answer. Without it, nobody sees anything.
	Visible  func(services.Caller, services.Entry) bool
	Identify services.Identify // tells who is calling; without it nobody is served
	Info     varlink.Info      // the answer to GetInfo; its Interfaces are filled in
	Log      *slog.Logger      // is told of faults; nil for silence
}

// NewServer returns the service of port 3.
func NewServer(c Config) *rpc.Server {
	return rpc.New(rpc.Config{Name: "health", Streams: watches, Identify: c.Identify, Log: c.Log}, c.methods)
}

// session answers the calls of one connection.
type session struct {
	rpc.Session
	Config
}

func (c Config) methods(s rpc.Session) varlink.Handler {
	t := &session{s, c}
	m := varlink.Methods{
		MethodCheck: t.check,
		MethodList:  t.list,
		MethodWatch: t.watch,
	}
	m.Describe(c.Info, map[string]string{iface: Interface})
	return m
}

func (t *session) check(_ context.Context, call *varlink.Call) (any, error) {
	q, err := ask(call)
	if err != nil {
		return nil, err
	}
	entries, _ := t.Registry.List()
	return answer{t.state(q.Service, byName(entries))}, nil
}

func (t *session) list(_ context.Context, call *varlink.Call) (any, error) {
	if err := call.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	entries, _ := t.Registry.List()
	l := listing{Services: []Health{}} // one message: names are short, and there are services.MaxServices at most
	for _, e := range entries {
		if t.sees(e) {
			l.Services = append(l.Services, Health{e.Name, e.Port, e.State})
		}
	}
	return l, nil
}

// ask decodes what a call asks about.
func ask(call *varlink.Call) (question, error) {
	var q question
	if err := call.Decode(&q); err != nil {
		return q, err
	}
	if q.Service != "" && services.CheckName(q.Service) != nil {
		return q, varlink.Invalid("service")
	}
	return q, nil
}

// sees reports whether the caller may know of a service.
func (t *session) sees(e services.Entry) bool {
	return t.Visible != nil && t.Visible(t.Caller, e)
}

// state is how a service is for the caller, or the whole domain for "".
func (t *session) state(service string, entries map[string]services.Entry) services.State {
	if service != "" {
		if e, there := entries[service]; there && t.sees(e) {
			return e.State
		}
		return services.Unknown
	}
	for _, e := range entries {
		if e.State != services.Serving && t.sees(e) {
			return services.NotServing
		}
	}
	return services.Serving
}
