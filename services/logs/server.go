package logs

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
	defaultFollows      = 4
	defaultTotalFollows = 128
	defaultIdle         = 5 * time.Minute
	// A connection's calls are slowed down to this.
	callRate  = rate.Limit(100)
	callBurst = 300
)

// Config is what a Server needs.
type Config struct {
	Buffer *Buffer
	// Identify tells who is calling; without it nobody is served.
	Identify services.Identify
	// Info is the answer to GetInfo; its Interfaces are filled in.
	Info varlink.Info
	// PerDomain and Total bound connections as in services.Acceptor.
	PerDomain, Total int
	// Follows and TotalFollows bound the reads that follow: of one domain (0: 4) and
	// in all (0: 128). Follows should be less than PerDomain.
	Follows, TotalFollows int
	// Limits bounds a connection; Idle is 5 minutes unless given.
	Limits varlink.Limits
	// Log is told of faults; nil for silence. It may well go to the buffer: nothing
	// is logged for a line that is read.
	Log *slog.Logger
}

// Server answers on port 6. It implements services.Service.
type Server struct {
	config   Config
	follows  *services.Quota
	acceptor services.Acceptor
}

// NewServer returns a server.
func NewServer(c Config) *Server {
	c.Limits.Idle = cmp.Or(c.Limits.Idle, defaultIdle)
	s := &Server{
		config:  c,
		follows: services.NewQuota(cmp.Or(c.Follows, defaultFollows), cmp.Or(c.TotalFollows, defaultTotalFollows)),
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
		s.config.Log.Debug("log connection ended", "domain", caller.Domain, "error", err)
	}
}

// session answers the calls of one connection.
type session struct {
	*Server
	caller services.Caller
}

func (s *Server) methods(caller services.Caller) varlink.Methods {
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
