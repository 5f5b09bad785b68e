package logs_test

import (
	"log/slog"
	"testing"
	"time"

	"xvsock/services"
	"xvsock/services/logs"
	"xvsock/services/rpc"
	"xvsock/services/rpc/rpctest"
	"xvsock/services/varlink"
)

// port is a log server.
type port struct {
	*rpctest.Listener
	buffer *logs.Buffer
	log    *slog.Logger // into the buffer
	server *rpc.Server
}

// start serves a log of so many lines until the test ends. The server's own faults go
// into the log too, as in a domain.
func start(t testing.TB, lines int) *port {
	p := &port{buffer: logs.NewBuffer(lines)}
	p.log = slog.New(p.buffer.Handler(slog.LevelDebug, time.Now()))
	p.server = logs.NewServer(logs.Config{
		Buffer:   p.buffer,
		Identify: rpctest.Identify,
		Info:     varlink.Info{Vendor: "xvsock", Product: "test", Version: "1", URL: "-"},
		Log:      p.log,
	})
	p.Listener = rpctest.Start(t, p.server)
	return p
}

func guest(domain uint16) services.Caller { return services.Caller{Domain: domain} }

func (p *port) client(t *testing.T, domain uint16) *logs.Client {
	return logs.NewClient(p.Dial(t, guest(domain)), varlink.Limits{})
}
