package control_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"xvsock/services"
	"xvsock/services/control"
	"xvsock/services/varlink"
)

// fake is a Domain that notes what it was ordered.
type fake struct {
	mu       sync.Mutex
	orders   []string
	settings control.Settings
	services []control.ServiceStatus
	err      error
}

func (f *fake) note(order string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders = append(f.orders, order)
	return f.err
}

func (f *fake) said() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.orders, ", ")
}

func (f *fake) Status(context.Context) (any, error) {
	return map[string]any{"role": "frontend", "uptime": 1.5}, f.err
}
func (f *fake) Config(context.Context) (control.Settings, error) { return f.settings, f.err }
func (f *fake) Services(context.Context) ([]control.ServiceStatus, error) {
	return f.services, f.err
}
func (f *fake) SetLog(_ context.Context, l slog.Level) error { return f.note("log " + l.String()) }
func (f *fake) Restart(_ context.Context, s string) error    { return f.note("restart " + s) }
func (f *fake) Shutdown(_ context.Context, reboot bool) error {
	if reboot {
		return f.note("reboot")
	}
	return f.note("shutdown")
}

// port is a control server over net.Pipe, in the bubble of a test.
type port struct {
	domain *fake
	server *control.Server
	log    *lines
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	allowed func(services.Caller) bool
}

// lines is a writer for a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
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

func (p *port) allow(c services.Caller) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.allowed(c)
}

func (p *port) setAllowed(f func(services.Caller) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allowed = f
}

func onlyDomain0(c services.Caller) bool { return c.Domain == 0 }

// start serves a domain to domain 0 until the test ends.
func start(t *testing.T, f *fake) *port {
	p := &port{domain: f, log: &lines{}, conns: make(chan net.Conn), closed: make(chan struct{}), allowed: onlyDomain0}
	p.server = control.NewServer(control.Config{
		Methods:  control.Methods(f),
		Allow:    p.allow,
		Identify: identify,
		Info:     varlink.Info{Vendor: "xvsock", Product: "test", Version: "1", URL: "-"},
		Log: slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})),
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

// raw is a connection that the test closes.
func (p *port) raw(c services.Caller) net.Conn {
	a, b := net.Pipe()
	p.conns <- callerConn{b, c}
	return a
}

func (p *port) conn(t *testing.T, c services.Caller) net.Conn {
	a := p.raw(c)
	t.Cleanup(func() { a.Close(); synctest.Wait() })
	return a
}

func (p *port) client(t *testing.T, c services.Caller) *control.Client {
	return control.NewClient(p.conn(t, c), varlink.Limits{})
}

// root is a caller from a port of root's.
func root(domain uint16) services.Caller {
	return services.Caller{Domain: domain, Name: "Domain-0", UUID: "u0", Port: 1000}
}

func user(domain uint16) services.Caller {
	c := root(domain)
	c.Port = 1024
	return c
}
