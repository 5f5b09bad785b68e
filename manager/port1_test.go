package manager_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"xvsock/link"
	"xvsock/manager"
	"xvsock/vsock"
)

var port1 = vsock.Addr{CID: vsock.CIDBackend, Port: vsock.PortManager}

// dial connects to port 1, or fails the test.
func dial(t *testing.T, ctx context.Context, s *vsock.Stack) *vsock.Conn {
	c, err := s.DialPrivileged(ctx, port1)
	if err != nil {
		t.Errorf("dial port 1: %v", err)
	}
	return c
}

// What a frontend does on port 1, and what becomes of its link.
func TestPort1DecidesAboutTheFrontLink(t *testing.T) {
	for name, c := range map[string]struct {
		meet  func(*testing.T, context.Context, *vsock.Stack)
		ended bool
		again time.Duration // when the link may form again, at least
	}{
		"one silent connection": {
			meet: func(t *testing.T, ctx context.Context, s *vsock.Stack) { dial(t, ctx, s); <-ctx.Done() },
		},
		"no connection yet": {meet: func(_ *testing.T, ctx context.Context, _ *vsock.Stack) { <-ctx.Done() }},
		"a second connection": {
			meet: func(t *testing.T, ctx context.Context, s *vsock.Stack) {
				dial(t, ctx, s)
				time.Sleep(time.Second)
				s.DialPrivileged(ctx, port1) // the link may end before it is answered
				<-ctx.Done()
			}, ended: true, again: 30 * time.Second,
		},
		"connections of any program's": {
			meet: func(t *testing.T, ctx context.Context, s *vsock.Stack) {
				dial(t, ctx, s)
				for range 100 {
					c, err := s.Dial(ctx, port1)
					if err != nil {
						t.Errorf("dial port 1: %v", err)
						return
					}
					if _, err := c.Read(make([]byte, 1)); err == nil {
						t.Error("port 1 speaks to a port above 1023")
					}
					c.Close()
				}
				<-ctx.Done()
			},
		},
		"a connection that ends": {
			meet:  func(t *testing.T, ctx context.Context, s *vsock.Stack) { dial(t, ctx, s).Close(); <-ctx.Done() },
			ended: true,
		},
		"a connection that ends its sending": {
			meet:  func(t *testing.T, ctx context.Context, s *vsock.Stack) { dial(t, ctx, s).CloseWrite(); <-ctx.Done() },
			ended: true,
		},
		"a byte": {
			meet: func(t *testing.T, ctx context.Context, s *vsock.Stack) {
				dial(t, ctx, s).Write([]byte{0})
				<-ctx.Done()
			}, ended: true, again: 30 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, true)
				neighbour := r.frontend(r.create("a"), nil).next(t)
				dom := r.create("b")
				first := true
				f := r.frontend(dom, func(ctx context.Context, s *vsock.Stack, l *link.Link) {
					if first {
						first = false
						c.meet(t, ctx, s)
					} else {
						manager.Join(ctx, s, l, func() {})
					}
				})
				l := f.next(t)
				if !c.ended {
					time.Sleep(time.Minute)
					if l.Err() != nil {
						t.Errorf("link has ended: %v", l.Err())
					}
					return
				}
				cause(t, l, 5*time.Second)
				begin := time.Now()
				f.next(t)
				r.await("a:true b:true", time.Second)
				if took := time.Since(begin); took < c.again || took > c.again+5*time.Second {
					t.Errorf("link formed again after %v, want %v", took, c.again)
				}
				if neighbour.Err() != nil {
					t.Errorf("the neighbour's link has ended too: %v", neighbour.Err())
				}
			})
		})
	}
}

// Port 1 is the backend's: a program of the backend's own domain, or a frontend
// that calls itself, finds nothing there.
func TestPort1IsForFrontendsOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		f := r.frontend(r.create("web"), nil)
		r.await("web:true", 5*time.Second)
		c, err := r.stack.DialPrivileged(t.Context(), vsock.Addr{CID: vsock.CIDSelf, Port: vsock.PortManager})
		if err == nil {
			if _, err = c.Read(make([]byte, 1)); err == nil {
				t.Error("the backend's own domain is served on port 1")
			}
			c.Close()
		}
		if _, err := f.stack.Dial(t.Context(), vsock.Addr{CID: vsock.CIDSelf, Port: vsock.PortManager}); err == nil {
			t.Error("a frontend's own port 1 answers")
		}
		if _, err := f.stack.Listen(vsock.PortManager); err == nil {
			t.Error("a frontend listens on port 1")
		}
	})
}

// The manager may be hostile to a frontend just as well.
func TestJoinEndsTheLinkWithItsConnection(t *testing.T) {
	for name, c := range map[string]struct {
		backend func(*vsock.Conn)
		want    link.Cause
	}{
		"the manager closes":    {func(c *vsock.Conn) { c.Close() }, link.Lost},
		"the manager says more": {func(c *vsock.Conn) { c.Write([]byte("hello")) }, link.Broken},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a, b, err := link.Loop(0, link.Options{})
				if err != nil {
					t.Fatal(err)
				}
				// Each end of the loop in a stack of its own.
				front := vsock.NewStack(vsock.Config{})
				back := vsock.NewStack(vsock.Config{Backend: true})
				listener, err := back.Listen(vsock.PortManager)
				if err != nil {
					t.Fatal(err)
				}
				served := make(chan error, 2)
				go func() { served <- front.Serve(a, true) }()
				go func() { served <- back.Serve(b, false) }()
				joined := make(chan error, 1)
				go func() { joined <- manager.Join(t.Context(), front, a, func() {}) }()
				conn, err := listener.Accept()
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				c.backend(conn.(*vsock.Conn))
				if err := <-joined; err != nil {
					t.Errorf("Join returned %v", err)
				}
				if got := link.CauseOf(a.Err()); got != c.want {
					t.Errorf("link ended as %v (%v), want %v", got, a.Err(), c.want)
				}
				<-served
				b.End(link.Lost, nil)
				<-served
				errors.Join(front.Close(), back.Close(), a.Close(), b.Close())
			})
		})
	}
}

func TestJoinWithoutAManagerEndsTheLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b, err := link.Loop(0, link.Options{})
		if err != nil {
			t.Fatal(err)
		}
		front, back := vsock.NewStack(vsock.Config{}), vsock.NewStack(vsock.Config{})
		served := make(chan error, 2)
		go func() { served <- front.Serve(a, true) }()
		go func() { served <- back.Serve(b, false) }()
		time.Sleep(time.Second)
		err = manager.Join(t.Context(), front, a, func() { t.Error("joined") })
		if err == nil || a.Err() == nil {
			t.Errorf("Join returned %v, link: %v", err, a.Err())
		}
		<-served
		b.End(link.Lost, nil)
		<-served
		errors.Join(front.Close(), back.Close(), a.Close(), b.Close())
	})
}
