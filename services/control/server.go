package control

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"time"

	"xvsock/services"
	"xvsock/services/rpc"
	"xvsock/services/varlink"
)

const (
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
	Allow    func(services.Caller) bool
	Identify services.Identify // tells who is calling; without it nobody is served
	Info     varlink.Info      // the answer to GetInfo; its Interfaces are filled in
	// Log is told of each order that changes something, and of faults; nil for
	// silence.
	Log *slog.Logger
}

// Server answers on port 4. It implements services.Service.
type Server struct {
	*rpc.Server
	config    Config
	methods   varlink.Methods
	strangers *services.Quota
}

// NewServer returns a server.
func NewServer(c Config) *Server {
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
	s.Server = rpc.New(rpc.Config{Name: "control", Identify: c.Identify, Admit: s.admit, Log: c.Log},
		func(c services.Caller) varlink.Handler { return &session{s, c} })
	return s
}

// admit keeps few connections of those who are not allowed, and those not for long.
func (s *Server) admit(c services.Caller, serve func(idle time.Duration)) {
	if s.allowed(c) {
		serve(0)
	} else if s.strangers.Acquire(c.Domain) {
		defer s.strangers.Release(c.Domain)
		serve(strangerIdle)
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
