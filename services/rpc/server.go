// Package rpc is a service that answers Varlink calls, as discovery, health, control
// and the log are: it knows who calls, and slows down and bounds what that costs.
package rpc

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
	defaultIdle = 5 * time.Minute
	// A connection's calls are slowed down to this.
	callRate  = rate.Limit(100)
	callBurst = 300

	streamsPerDomain = 4
)

// Config is what a Server needs.
type Config struct {
	// Name is what the log calls the service.
	Name string
	// Identify tells who is calling; without it nobody is served.
	Identify services.Identify
	// Admit, if set, decides on each connection: it calls serve, which returns when
	// the connection has ended, with how long it may idle (0: 5 minutes), or returns
	// to have it closed.
	Admit func(c services.Caller, serve func(idle time.Duration))
	// Streams is how many streams of replies may be open in all; a domain may have 4,
	// fewer than connections, which leaves it some to ask with.
	Streams int
	// Log is told of faults; nil for silence.
	Log *slog.Logger
}

// Server implements services.Service and services.Counter. Its connections are
// bounded as services.Acceptor does it unless told otherwise.
type Server struct {
	config   Config
	handler  func(Session) varlink.Handler
	streams  *services.Quota
	acceptor services.Acceptor
}

// New returns a server. The handler answers the calls of one connection.
func New(c Config, handler func(Session) varlink.Handler) *Server {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Admit == nil {
		c.Admit = func(_ services.Caller, serve func(time.Duration)) { serve(0) }
	}
	s := &Server{config: c, handler: handler, streams: services.NewQuota(streamsPerDomain, c.Streams)}
	s.acceptor = services.Acceptor{Handle: s.handle, Identify: c.Identify, Log: c.Log}
	return s
}

// Serve implements services.Service.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return s.acceptor.Serve(ctx, l) }

// Counts implements services.Counter.
func (s *Server) Counts() (open, served, refused, panics uint64) { return s.acceptor.Counts() }

func (s *Server) handle(ctx context.Context, conn net.Conn, caller services.Caller) {
	s.config.Admit(caller, func(idle time.Duration) {
		v := varlink.Server{
			Limits: varlink.Limits{Idle: cmp.Or(idle, defaultIdle)},
			Log:    s.config.Log,
			Pace:   rate.NewLimiter(callRate, callBurst).Wait,
		}
		err := v.Serve(ctx, conn, s.handler(Session{caller, s.streams}))
		if err != nil && ctx.Err() == nil {
			s.config.Log.Debug("connection ended", "service", s.config.Name, "domain", caller.Domain, "error", err)
		}
	})
}

// Session is one connection.
type Session struct {
	Caller  services.Caller
	streams *services.Quota
}

// Stream lets a call be answered by more replies, for as long as they may come, until
// end is called. The error, full if there are too many streams, is the reply to send.
func (s Session) Stream(call *varlink.Call, full error) (end func(), err error) {
	if !call.More {
		return nil, &varlink.Error{Name: varlink.ExpectedMore}
	}
	if !s.streams.Acquire(s.Caller.Domain) {
		return nil, full
	}
	return func() { s.streams.Release(s.Caller.Domain) }, nil
}
