package control

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net"
	"time"

	"golang.org/x/time/rate"

	"xvsock/services"
	"xvsock/services/varlink"
)

const (
	defaultIdle = 5 * time.Minute
	// A connection's calls are slowed down to this.
	callRate  = rate.Limit(100)
	callBurst = 300

	// What those who are not allowed may have open: of one domain, fewer than its
	// connections, so that they keep no root of it out, and in all; and for how long.
	strangersPerDomain = 2
	strangersTotal     = 64
	strangerIdle       = 5 * time.Second
)

// Config is what a Server needs.
type Config struct {
	// Methods are what is served; the server adds those that describe Interface.
	Methods varlink.Methods
	// Allow is asked at each call whether a caller's domain may give orders. It is
	// called without locks held. Without it, nobody may.
	Allow func(services.Caller) bool
	// Identify tells who is calling; without it nobody is served.
	Identify services.Identify
	// Info is the answer to GetInfo; its Interfaces are filled in.
	Info varlink.Info
	// PerDomain and Total bound connections as in services.Acceptor.
	PerDomain, Total int
	// Limits bounds a connection; Idle is 5 minutes unless given.
	Limits varlink.Limits
	// Log is told of each order that changes something, and of faults; nil for
	// silence.
	Log *slog.Logger
}

// Server answers on port 4. It implements services.Service.
type Server struct {
	config    Config
	methods   varlink.Methods
	strangers *services.Quota
	acceptor  services.Acceptor
}

// NewServer returns a server.
func NewServer(c Config) *Server {
	c.Limits.Idle = cmp.Or(c.Limits.Idle, defaultIdle)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		config:    c,
		methods:   make(varlink.Methods),
		strangers: services.NewQuota(strangersPerDomain, strangersTotal),
	}
	maps.Copy(s.methods, c.Methods)
	s.methods.Describe(c.Info, map[string]string{iface: Interface})
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
	if !s.allowed(caller) {
		if !s.strangers.Acquire(caller.Domain) {
			return
		}
		defer s.strangers.Release(caller.Domain)
		v.Limits.Idle = strangerIdle
	}
	err := v.Serve(ctx, conn, &session{s, caller})
	if err != nil && ctx.Err() == nil {
		s.config.Log.Debug("control connection ended", "domain", caller.Domain, "error", err)
	}
}

func (s *Server) allowed(c services.Caller) bool {
	return c.Privileged() && s.config.Allow != nil && s.config.Allow(c)
}

// session answers the calls of one connection.
type session struct {
	*Server
	caller services.Caller
}

// ServeCall implements varlink.Handler. Who is not allowed is not told either which
// methods there are.
func (t *session) ServeCall(ctx context.Context, call *varlink.Call) (any, error) {
	if !t.allowed(t.caller) {
		t.config.Log.Debug("control denied", "domain", t.caller.Domain, "port", t.caller.Port)
		return nil, ErrDenied
	}
	log := t.config.Log.With("domain", t.caller.Domain, "name", t.caller.Name, "uuid", t.caller.UUID)
	if changes(call.Method) {
		log.Info("order", "method", call.Method, "parameters", parameters(call))
	}
	result, err := t.methods.ServeCall(ctx, call)
	if err != nil && changes(call.Method) {
		log.Warn("order not done", "method", call.Method, "error", err)
	}
	return result, err
}

// changes reports whether a method changes something in the domain.
func changes(method string) bool {
	switch method {
	case MethodSetLog, MethodRestart, MethodShutdown:
		return true
	}
	return false
}

const maxLogged = 200 // bytes of a call's parameters

// parameters are what a call says, for the log, which escapes it.
func parameters(call *varlink.Call) string {
	var p json.RawMessage
	if call.Decode(&p) != nil {
		return "?"
	}
	return string(p[:min(len(p), maxLogged)])
}
