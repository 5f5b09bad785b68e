package discovery_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/services/varlink"
)

// host is a discovery server over net.Pipe, in the bubble of a test.
type host struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	server *discovery.Server
}

type callerConn struct {
	net.Conn
	caller discovery.Caller
}

func identify(c net.Conn) (discovery.Caller, bool) {
	cc, ok := c.(callerConn)
	return cc.caller, ok
}

func (h *host) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *host) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *host) Addr() net.Addr { return &net.UnixAddr{Name: "host", Net: "unix"} }

// start serves a directory until the test ends.
func start(t *testing.T, d discovery.Directory) *host {
	h := &host{conns: make(chan net.Conn), closed: make(chan struct{})}
	h.server = discovery.NewServer(discovery.Config{
		Directory: d,
		Identify:  identify,
		Info:      varlink.Info{Vendor: "xvsock", Product: "test", Version: "1", URL: "-"},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.server.Serve(ctx, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return h
}

func (h *host) conn(t *testing.T, c discovery.Caller) net.Conn {
	a, b := net.Pipe()
	h.conns <- callerConn{b, c}
	t.Cleanup(func() { a.Close(); synctest.Wait() })
	return a
}

func (h *host) client(t *testing.T, c discovery.Caller) *discovery.Client {
	return discovery.NewClient(h.conn(t, c), discovery.ClientConfig{MaxRecords: 10000})
}

// domain is a caller from a port of root's.
func domain(id uint16, name string) discovery.Caller {
	return discovery.Caller{Domain: id, CID: uint32(id), Generation: 1, Name: name, UUID: "uuid-" + name, Port: 1000}
}

func serving(name string, port uint32) services.Entry {
	return services.Entry{Info: services.Info{Name: name, Port: port}, State: services.Serving}
}

func everything(discovery.Caller, discovery.Record) bool { return true }
