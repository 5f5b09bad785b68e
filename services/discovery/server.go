package discovery

import (
	"cmp"
	"context"
	"errors"
	"log/slog"

	"xvsock/services"
	"xvsock/services/rpc"
	"xvsock/services/varlink"
)

// watches is how many watches may be open in all.
const watches = 512

// Config is what a Server needs.
type Config struct {
	Directory Directory
	Identify  services.Identify // tells who is calling; without it nobody is served
	Info      varlink.Info      // the answer to GetInfo; its Interfaces are filled in
	Log       *slog.Logger      // is told of faults; nil for silence
}

// NewServer returns the service of port 2.
func NewServer(c Config) *rpc.Server {
	return rpc.New(rpc.Config{Name: "discovery", Streams: watches, Identify: c.Identify, Log: c.Log}, c.methods)
}

// session answers the calls of one connection.
type session struct {
	rpc.Session
	Config
}

func (c Config) methods(s rpc.Session) varlink.Handler {
	t := &session{s, c}
	m := varlink.Methods{
		methodResolve:    t.resolve,
		methodList:       t.list,
		methodWatch:      t.watch,
		methodRegister:   t.register,
		methodUnregister: t.unregister,
		methodHealth:     t.health,
	}
	m.Describe(c.Info, map[string]string{iface: Interface})
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
	records, _ := t.Directory.List(t.Caller, f)
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
	records, revision := t.Directory.List(t.Caller, f)
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
	if !t.Caller.Privileged() {
		return nil, ErrDenied
	}
	e := services.Entry{
		Info:  services.Info{Name: in.Name, Port: in.Port, Txt: in.Txt},
		State: cmp.Or(in.State, services.Serving),
	}
	return nil, reply(t.Directory.Register(t.Caller, e))
}

func (t *session) unregister(_ context.Context, call *varlink.Call) (any, error) {
	var in named
	if err := call.Decode(&in); err != nil {
		return nil, err
	}
	if !t.Caller.Privileged() {
		return nil, ErrDenied
	}
	return nil, reply(t.Directory.Unregister(t.Caller, in.Name))
}
