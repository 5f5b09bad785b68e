package control_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"xvsock/services"
	"xvsock/services/control"
	"xvsock/services/rpc/rpctest"
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

// port is a control server.
type port struct {
	*rpctest.Listener
	log *lines

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
	p := &port{log: &lines{}, allowed: onlyDomain0}
	p.Listener = rpctest.Start(t, control.NewServer(control.Config{
		Methods:  control.Methods(f),
		Allow:    p.allow,
		Identify: rpctest.Identify,
		Info:     varlink.Info{Vendor: "xvsock", Product: "test", Version: "1", URL: "-"},
		Log: slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})),
	}))
	return p
}

func (p *port) client(t *testing.T, c services.Caller) *control.Client {
	return control.NewClient(p.Dial(t, c), varlink.Limits{})
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
