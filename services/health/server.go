package health

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"time"

	"golang.org/x/time/rate"

	"xvsock/services"
	"xvsock/services/varlink"
)

const (
	defaultWatches      = 4
	defaultTotalWatches = 512
	defaultIdle         = 5 * time.Minute
	// A connection's calls are slowed down to this.
	callRate  = rate.Limit(100)
	callBurst = 300
)

// Config is what a Server needs.
type Config struct {
	// Registry has the services that are answered for.
	Registry *services.Registry
	// Visible is the policy's answer to whether a caller may reach a service, and
	// so may know of it. It is called without locks held, for each service of each
	// answer. Without it, nobody sees anything.
	Visible func(services.Caller, services.Entry) bool
	// Identify tells who is calling; without it nobody is served.
	Identify services.Identify
	// Info is the answer to GetInfo; its Interfaces are filled in.
	Info varlink.Info
	// PerDomain and Total bound connections as in services.Acceptor.
	PerDomain, Total int
	// Watches and TotalWatches bound the open watches: of one domain (0: 4) and
	// in all (0: 512). Watches should be less than PerDomain.
	Watches, TotalWatches int
	// Limits bounds a connection; Idle is 5 minutes unless given.
	Limits varlink.Limits
	// Log is told of faults; nil for silence.
	Log *slog.Logger
}

// Server answers on port 3. It implements services.Service.
type Server struct {
	config   Config
	watches  *services.Quota
	acceptor services.Acceptor
}

// NewServer returns a server.
func NewServer(c Config) *Server {
	c.Limits.Idle = cmp.Or(c.Limits.Idle, defaultIdle)
	s := &Server{
		config:  c,
		watches: services.NewQuota(cmp.Or(c.Watches, defaultWatches), cmp.Or(c.TotalWatches, defaultTotalWatches)),
	}
	s.acceptor = services.Acceptor{
		Handle:    s.handle,
		Identify:  c.Identify,
		PerDomain: c.PerDomain,
		Total:     c.Total,
		Log:       c.Log,
	}
	return s
}

// Serve implements services.Service.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return s.acceptor.Serve(ctx, l) }

// Counts implements services.Counter.
func (s *Server) Counts() (open, served, refused, panics uint64) { return s.acceptor.Counts() }

func (s *Server) handle(ctx context.Context, conn net.Conn, caller services.Caller) {
	v := varlink.Server{
		Limits: s.config.Limits,
		Log:    s.config.Log,
		Pace:   rate.NewLimiter(callRate, callBurst).Wait,
	}
	err := v.Serve(ctx, conn, s.methods(caller))
	if err != nil && ctx.Err() == nil && s.config.Log != nil {
		s.config.Log.Debug("health connection ended", "domain", caller.Domain, "error", err)
	}
}

// session answers the calls of one connection.
type session struct {
	*Server
	caller services.Caller
}

func (s *Server) methods(caller services.Caller) varlink.Methods {
	t := &session{Server: s, caller: caller}
	m := varlink.Methods{
		MethodCheck: t.check,
		MethodList:  t.list,
		MethodWatch: t.watch,
	}
	m.Describe(s.config.Info, map[string]string{iface: Interface})
	return m
}

func (t *session) check(_ context.Context, call *varlink.Call) (any, error) {
	q, err := ask(call)
	if err != nil {
		return nil, err
	}
	entries, _ := t.config.Registry.List()
	return answer{t.state(q.Service, byName(entries))}, nil
}

func (t *session) list(_ context.Context, call *varlink.Call) (any, error) {
	if err := call.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	entries, _ := t.config.Registry.List()
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
	return t.config.Visible != nil && t.config.Visible(t.caller, e)
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
