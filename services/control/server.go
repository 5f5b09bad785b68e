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

// NewServer returns the service of port 4.
func NewServer(c Config) *rpc.Server {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	methods := make(varlink.Methods)
	maps.Copy(methods, c.Methods)
	methods.Describe(c.Info, map[string]string{iface: Interface})
	c.Methods = methods
	strangers := services.NewQuota(strangersPerDomain, strangersTotal)
	return rpc.New(rpc.Config{
		Name: "control", Identify: c.Identify, Log: c.Log,
		Admit: func(caller services.Caller, serve func(idle time.Duration)) {
			if c.allowed(caller) {
				serve(0)
			} else if strangers.Acquire(caller.Domain) {
				defer strangers.Release(caller.Domain)
				serve(strangerIdle)
			}
		},
	}, func(s rpc.Session) varlink.Handler { return &session{s, c} })
}

func (c Config) allowed(caller services.Caller) bool {
	return caller.Privileged() && c.Allow != nil && c.Allow(caller)
}

// session answers the calls of one connection.
type session struct {
	rpc.Session
	Config
}

// ServeCall implements varlink.Handler. Who is not allowed is not told either which
// methods there are.
func (t *session) ServeCall(ctx context.Context, call *varlink.Call) (any, error) {
	if !t.allowed(t.Caller) {
		t.Log.Debug("control denied", "domain", t.Caller.Domain, "port", t.Caller.Port)
		return nil, ErrDenied
	}
	log := t.Log.With("domain", t.Caller.Domain, "name", t.Caller.Name, "uuid", t.Caller.UUID)
	if changes(call.Method) {
		log.Info("order", "method", call.Method, "parameters", parameters(call))
	}
	result, err := t.Methods.ServeCall(ctx, call)
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
