package health_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"xvsock/services"
	"xvsock/services/health"
	"xvsock/services/varlink"
)

// domain is a health server over net.Pipe, in the bubble of a test.
type domain struct {
	registry *services.Registry
	server   *health.Server
	conns    chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

type callerConn struct {
	net.Conn
	caller services.Caller
}

func identify(c net.Conn) (services.Caller, bool) {
	cc, ok := c.(callerConn)
	return cc.caller, ok
}

func (d *domain) Accept() (net.Conn, error) {
	select {
	case c := <-d.conns:
		return c, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

func (d *domain) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

func (d *domain) Addr() net.Addr { return &net.UnixAddr{Name: "domain", Net: "unix"} }

// start serves a registry of the named services until the test ends.
func start(t *testing.T, visible func(services.Caller, services.Entry) bool, names ...string) *domain {
	d := &domain{registry: services.NewRegistry(), conns: make(chan net.Conn), closed: make(chan struct{})}
	for i, name := range names {
		if err := d.registry.Add(services.Info{Name: name, Port: uint32(100 + i)}); err != nil {
			t.Fatal(err)
		}
		d.set(name, services.Serving)
	}
	d.server = health.NewServer(health.Config{
		Registry: d.registry,
		Visible:  visible,
		Identify: identify,
		Info:     varlink.Info{Vendor: "xvsock", Product: "test", Version: "1", URL: "-"},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.server.Serve(ctx, d) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return d
}

func (d *domain) set(name string, s services.State) {
	if err := d.registry.SetState(name, s); err != nil {
		panic(err)
	}
}

func (d *domain) conn(t *testing.T, caller uint16) net.Conn {
	a, b := net.Pipe()
	d.conns <- callerConn{b, services.Caller{Domain: caller, Port: 2000}}
	t.Cleanup(func() { a.Close(); synctest.Wait() })
	return a
}

func (d *domain) client(t *testing.T, caller uint16) *health.Client {
	return health.NewClient(d.conn(t, caller), varlink.Limits{})
}

func everything(services.Caller, services.Entry) bool { return true }

// all but secret, unless the caller is domain 0.
func notSecret(c services.Caller, e services.Entry) bool { return c.Domain == 0 || e.Name != "secret" }

// raw is a connection outside a bubble.
func (d *domain) raw(caller uint16) net.Conn {
	a, b := net.Pipe()
	d.conns <- callerConn{b, services.Caller{Domain: caller, Port: 2000}}
	return a
}
