package logs

import (
	"context"
	"log/slog"

	"xvsock/services"
	"xvsock/services/rpc"
	"xvsock/services/varlink"
)

// follows is how many reads may follow in all.
const follows = 128

// Config is what a Server needs.
type Config struct {
	Buffer   *Buffer
	Identify services.Identify // tells who is calling; without it nobody is served
	Info     varlink.Info      // the answer to GetInfo; its Interfaces are filled in
	// Log is told of faults; nil for silence. It may well go to the buffer: nothing
	// is logged for a line that is read.
	Log *slog.Logger
}

// NewServer returns the service of port 6.
func NewServer(c Config) *rpc.Server {
	return rpc.New(rpc.Config{Name: "log", Streams: follows, Identify: c.Identify, Log: c.Log}, c.methods)
}

// session answers the calls of one connection.
type session struct {
	rpc.Session
	Config
}

func (c Config) methods(s rpc.Session) varlink.Handler {
	t := &session{s, c}
	m := varlink.Methods{MethodRead: t.read}
	m.Describe(c.Info, map[string]string{iface: Interface})
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
		end, err := t.Stream(call, ErrLimitReached)
		if err != nil {
			return nil, err
		}
		defer end()
	}
	p, err := begin(t.Buffer, r)
	if err != nil {
		return nil, err
	}
	return p.run(ctx, call)
}
