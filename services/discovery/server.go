package discovery

import (
	"cmp"
	"context"
	"errors"
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
	Directory Directory
	// Identify tells who is calling; without it nobody is served.
	Identify services.Identify
	// Info is the answer to GetInfo; its Interfaces are filled in.
	Info varlink.Info
	// PerDomain and Total bound connections as in services.Acceptor.
	PerDomain, Total int
	// Watches and TotalWatches bound the open watches: of one domain (0: 4)
	// and in all (0: 512). Watches should be less than PerDomain.
	Watches, TotalWatches int
	// Limits bounds a connection; Idle is 5 minutes unless given.
	Limits varlink.Limits
	// Log is told of faults; nil for silence.
	Log *slog.Logger
}

// Server answers on port 2. It implements services.Service.
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

// Refused returns how many connections were closed unserved, over a bound or
// from nobody knows whom.
func (s *Server) Refused() uint64 { return s.acceptor.Refused() }

func (s *Server) handle(ctx context.Context, conn net.Conn, caller Caller) {
	v := varlink.Server{
		Limits: s.config.Limits,
		Log:    s.config.Log,
		Pace:   rate.NewLimiter(callRate, callBurst).Wait,
	}
	err := v.Serve(ctx, conn, s.methods(caller))
	if err != nil && ctx.Err() == nil && s.config.Log != nil {
		s.config.Log.Debug("discovery connection ended", "domain", caller.Domain, "error", err)
	}
}

// session answers the calls of one connection.
type session struct {
	directory Directory
	caller    Caller
	watches   *services.Quota
}

func (s *Server) methods(caller Caller) varlink.Methods {
	t := &session{directory: s.config.Directory, caller: caller, watches: s.watches}
	m := varlink.Methods{
		methodResolve:    t.resolve,
		methodList:       t.list,
		methodWatch:      t.watch,
		methodRegister:   t.register,
		methodUnregister: t.unregister,
		methodHealth:     t.health,
	}
	m.Describe(s.config.Info, map[string]string{iface: Interface})
	return m
}

func (t *session) resolve(_ context.Context, call *varlink.Call) (any, error) {
	r, err := t.find(call)
	if err != nil {
		return nil, err
	}
	return resolved{r}, nil
}

func (t *session) health(_ context.Context, call *varlink.Call) (any, error) {
	r, err := t.find(call)
	if errors.Is(err, ErrServiceNotFound) {
		return health{services.Unknown}, nil
	}
	if err != nil {
		return nil, err
	}
	return health{r.State}, nil
}

const maxAmbiguous = 16 // domains named in the error

// find returns the one service that a call names.
func (t *session) find(call *varlink.Call) (Record, error) {
	var f Filter
	if err := call.Decode(&f); err != nil {
		return Record{}, err
	}
	if err := services.CheckName(f.Name); err != nil {
		return Record{}, varlink.Invalid("name")
	}
	records, _ := t.directory.List(t.caller, f)
	switch len(records) {
	case 0:
		return Record{}, ErrServiceNotFound
	case 1:
		return records[0], nil
	}
	var domains struct {
		Domains []string `json:"domains"`
	}
	for _, r := range records[:min(len(records), maxAmbiguous)] {
		domains.Domains = append(domains.Domains, r.Domain)
	}
	return Record{}, varlink.NewError(ErrAmbiguous.Name, domains)
}

func (t *session) list(_ context.Context, call *varlink.Call) (any, error) {
	var f Filter
	if err := call.Decode(&f); err != nil {
		return nil, err
	}
	records, revision := t.directory.List(t.caller, f)
	for {
		n := fitting(records)
		l := listing{Revision: revision, Services: records[:n:n]}
		if l.Services == nil {
			l.Services = []Record{}
		}
		if records = records[n:]; len(records) == 0 {
			return l, nil
		}
		if err := call.Send(l); err != nil {
			return nil, err
		}
	}
}

func (t *session) register(_ context.Context, call *varlink.Call) (any, error) {
	var in registration
	if err := call.Decode(&in); err != nil {
		return nil, err
	}
	if !t.caller.Privileged() {
		return nil, ErrDenied
	}
	e := services.Entry{
		Info:  services.Info{Name: in.Name, Port: in.Port, Txt: in.Txt},
		State: cmp.Or(in.State, services.Serving),
	}
	return nil, reply(t.directory.Register(t.caller, e))
}

func (t *session) unregister(_ context.Context, call *varlink.Call) (any, error) {
	var in named
	if err := call.Decode(&in); err != nil {
		return nil, err
	}
	if !t.caller.Privileged() {
		return nil, ErrDenied
	}
	return nil, reply(t.directory.Unregister(t.caller, in.Name))
}
