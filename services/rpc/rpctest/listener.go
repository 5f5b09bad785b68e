// Package rpctest runs a service in a test, over connections in memory that tell who
// calls.
package rpctest

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"xvsock/services"
)

// Listener is a net.Listener over net.Pipe.
type Listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewListener returns a listener.
func NewListener() *Listener {
	return &Listener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Start has a service serve the listener that it returns until the test ends.
func Start(t testing.TB, s services.Service) *Listener {
	l := NewListener()
	Serve(t, s, l)
	return l
}

// Serve has a service serve a listener until the test ends, and then end well.
func Serve(t testing.TB, s services.Service, l net.Listener) {
	Run(t, func(ctx context.Context) error { return s.Serve(ctx, l) })
}

// Run runs serve until the test ends, whose context is done then, and which then has
// to return nil.
func Run(t testing.TB, serve func(context.Context) error) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// conn is a connection that tells who is at its other end.
type conn struct {
	net.Conn
	caller services.Caller
}

// Identify knows the callers of Dial and Raw.
func Identify(c net.Conn) (services.Caller, bool) {
	known, ok := c.(conn)
	return known.caller, ok
}

// Dial connects as a caller, in a bubble of testing/synctest, until the test ends.
func (l *Listener) Dial(t testing.TB, c services.Caller) net.Conn {
	a := l.Raw(c)
	t.Cleanup(func() { a.Close(); synctest.Wait() })
	return a
}

// Raw connects as a caller. The test closes the connection.
func (l *Listener) Raw(c services.Caller) net.Conn {
	a, b := net.Pipe()
	l.Give(conn{b, c})
	return a
}

// Give has a connection accepted as it is; a closed listener closes it.
func (l *Listener) Give(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.closed:
		c.Close()
	}
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return &net.UnixAddr{Name: "rpctest", Net: "unix"} }
