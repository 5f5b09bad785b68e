package services_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
)

// pipes is a listener over net.Pipe; dial gives the other end. The caller's
// domain is told by the connection.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	fail   chan error
}

func newPipes() *pipes {
	return &pipes{conns: make(chan net.Conn), closed: make(chan struct{}), fail: make(chan error)}
}

type pipeConn struct {
	net.Conn
	domain uint16
}

func (p *pipes) dial(domain uint16) net.Conn {
	a, b := net.Pipe()
	select {
	case p.conns <- pipeConn{b, domain}:
	case <-p.closed:
		b.Close()
	}
	return a
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case err := <-p.fail:
		return nil, err
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func identify(c net.Conn) (services.Caller, bool) {
	p, ok := c.(pipeConn)
	return services.Caller{Domain: p.domain}, ok && p.domain != 0xFFFF
}

func closedAtOnce(c net.Conn) bool {
	c.SetReadDeadline(time.Now().Add(time.Second))
	_, err := c.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

func TestAcceptorBoundsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a := &services.Acceptor{
			Handle:    func(ctx context.Context, c net.Conn, _ services.Caller) { io.Copy(io.Discard, c) },
			Identify:  identify,
			PerDomain: 2,
			Total:     3,
		}
		l := newPipes()
		ended := make(chan error)
		go func() { ended <- a.Serve(ctx, l) }()

		first := l.dial(1)
		if closedAtOnce(first) || closedAtOnce(l.dial(1)) {
			t.Error("a connection within the bounds was closed")
		}
		if !closedAtOnce(l.dial(1)) {
			t.Error("the third connection of a domain that may have two was served")
		}
		if closedAtOnce(l.dial(2)) {
			t.Error("another domain paid for the first one's greed")
		}
		if !closedAtOnce(l.dial(3)) {
			t.Error("the connection over the total was served")
		}
		first.Close()
		synctest.Wait()
		if closedAtOnce(l.dial(1)) {
			t.Error("a place given back was not given out again")
		}
		if !closedAtOnce(l.dial(0xFFFF)) {
			t.Error("a connection from nobody knows whom was served")
		}
		if _, _, refused, _ := a.Counts(); refused != 3 {
			t.Errorf("%d refused; want 3", refused)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v; want nil at the end of its context", err)
		}
	})
}

func TestAcceptorWithoutIdentifyServesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a := &services.Acceptor{Handle: func(context.Context, net.Conn, services.Caller) { t.Error("served") }}
		l := newPipes()
		ended := make(chan error)
		go func() { ended <- a.Serve(ctx, l) }()
		if !closedAtOnce(l.dial(1)) {
			t.Error("the connection was left open")
		}
		cancel()
		<-ended
	})
}

func TestPanicCostsOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a := &services.Acceptor{
			Handle: func(_ context.Context, c net.Conn, who services.Caller) {
				if who.Domain == 66 {
					panic("found a bug")
				}
				io.Copy(io.Discard, c)
			},
			Identify: identify,
		}
		l := newPipes()
		ended := make(chan error)
		go func() { ended <- a.Serve(ctx, l) }()
		honest := l.dial(1)
		for range 20 {
			if !closedAtOnce(l.dial(66)) {
				t.Fatal("the connection outlived its handler's panic")
			}
		}
		if closedAtOnce(honest) {
			t.Error("another domain's connection was lost")
		}
		if _, _, _, panics := a.Counts(); panics != 20 {
			t.Errorf("%d panics; want 20", panics)
		}
		cancel()
		<-ended
	})
}

func TestAcceptorRidesOutFailedAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("no descriptors")
		a := &services.Acceptor{Handle: func(_ context.Context, c net.Conn, _ services.Caller) { io.Copy(io.Discard, c) }, Identify: identify}
		l := newPipes()
		ended := make(chan error)
		go func() { ended <- a.Serve(t.Context(), l) }()
		for range 20 {
			l.fail <- broken
		}
		if closedAtOnce(l.dial(1)) {
			t.Error("not served after failed accepts")
		}
		for range 21 {
			l.fail <- broken
		}
		if err := <-ended; !errors.Is(err, broken) {
			t.Errorf("Serve = %v; want the accept error in the end", err)
		}
	})
}

func TestConnectionsOutliveTheirListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &services.Acceptor{Handle: func(_ context.Context, c net.Conn, _ services.Caller) { io.Copy(io.Discard, c) },
			Identify: identify, PerDomain: 2, Outlive: true}
		serve := func(ctx context.Context) (*pipes, chan error) {
			l, ended := newPipes(), make(chan error, 1)
			go func() { ended <- a.Serve(ctx, l) }()
			return l, ended
		}
		first, ended := serve(t.Context())
		old := first.dial(1)
		first.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve = %v; want that the listener was closed", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		second, ended := serve(ctx)
		if closedAtOnce(old) || closedAtOnce(second.dial(1)) {
			t.Error("a connection was cut")
		}
		if !closedAtOnce(second.dial(1)) {
			t.Error("what the first Serve left does not count")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
		if !closedAtOnce(old) {
			t.Error("the end of the second Serve left a connection of the first")
		}
		third, ended := serve(t.Context())
		old = third.dial(1)
		third.Close()
		<-ended
		a.Close()
		if open, served, _, _ := a.Counts(); !closedAtOnce(old) || open != 0 || served != 3 {
			t.Errorf("after Close %d open of %d", open, served)
		}
	})
}
