package logs

import (
	"context"
	"log/slog"

	"xvsock/services"
	"xvsock/services/rpc"
	"xvsock/services/varlink"
)

const (
	// Reads that follow, of one domain, fewer than its connections, and in all.
	followsPerDomain = 4
	followsTotal     = 128
)

// Config is what a Server needs.
type Config struct {
	Buffer   *Buffer
	Identify services.Identify // tells who is calling; without it nobody is served
	Info     varlink.Info      // the answer to GetInfo; its Interfaces are filled in
	// Log is told of faults; nil for silence. It may well go to the buffer: nothing
	// is logged for a line that is read.
	Log *slog.Logger
}

// Server answers on port 6. It implements services.Service.
type Server struct {
	*rpc.Server
	config  Config
	follows *services.Quota
}

// NewServer returns a server.
func NewServer(c Config) *Server {
	s := &Server{config: c, follows: services.NewQuota(followsPerDomain, followsTotal)}
	s.Server = rpc.New(rpc.Config{Name: "log", Identify: c.Identify, Log: c.Log}, s.methods)
	return s
}

// session answers the calls of one connection.
type session struct {
	*Server
	caller services.Caller
}

func (s *Server) methods(caller services.Caller) varlink.Handler {
	t := &session{s, caller}
	m := varlink.Methods{MethodRead: t.read}
	m.Describe(s.config.Info, map[string]string{iface: Interface})
	return m
}

// read answers one Read.
func (t *session) read(ctx context.Context, call *varlink.Call) (any, error) {
	var r Request
	if err := call.Decode(&r); err != nil {
		return nil, err
	}
	if r.Limit < 0 {
		return nil, varlink.Invalid("limit")
	}
	if r.Follow {
		if !call.More {
			return nil, &varlink.Error{Name: varlink.ExpectedMore}
		}
		if !t.follows.Acquire(t.caller.Domain) {
			return nil, ErrLimitReached
		}
		defer t.follows.Release(t.caller.Domain)
	}
	p, err := begin(t.config.Buffer, r)
	if err != nil {
		return nil, err
	}
	return p.run(ctx, call)
}
