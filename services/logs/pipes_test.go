package logs_test

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
	"xvsock/services/logs"
	"xvsock/services/varlink"
)

// port is a log server over net.Pipe, in the bubble of a test.
type port struct {
	buffer *logs.Buffer
	log    *slog.Logger // into the buffer
	server *logs.Server
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

type callerConn struct {
	net.Conn
	caller services.Caller
}

func identify(c net.Conn) (services.Caller, bool) {
	cc, ok := c.(callerConn)
	return cc.caller, ok
}

func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *port) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *port) Addr() net.Addr { return &net.UnixAddr{Name: "port", Net: "unix"} }

// start serves a log of so many lines until the test ends. The server's own faults go
// into the log too, as in a domain.
func start(t testing.TB, lines int) *port {
	p := &port{buffer: logs.NewBuffer(lines), conns: make(chan net.Conn), closed: make(chan struct{})}
	p.log = slog.New(p.buffer.Handler(slog.LevelDebug, time.Now()))
	p.server = logs.NewServer(logs.Config{
		Buffer:   p.buffer,
		Identify: identify,
		Info:     varlink.Info{Vendor: "xvsock", Product: "test", Version: "1", URL: "-"},
		Log:      p.log,
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.server.Serve(ctx, p) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return p
}

func (p *port) raw(domain uint16) net.Conn {
	a, b := net.Pipe()
	p.conns <- callerConn{b, services.Caller{Domain: domain}}
	return a
}

func (p *port) conn(t *testing.T, domain uint16) net.Conn {
	a := p.raw(domain)
	t.Cleanup(func() { a.Close(); synctest.Wait() })
	return a
}

func (p *port) client(t *testing.T, domain uint16) *logs.Client {
	return logs.NewClient(p.conn(t, domain), varlink.Limits{})
}
