package manager_test

import (
	"context"
	"testing"
	"time"

	"xvsock/link"
	"xvsock/manager/port1"
	"xvsock/vsock"
)

// dial connects to port 1, or fails the test.
func dial(t *testing.T, ctx context.Context, s *vsock.Stack) *vsock.Conn {
	c, err := s.DialPrivileged(ctx, port1Addr)
	if err != nil {
		t.Errorf("dial port 1: %v", err)
	}
	return c
}

// greet dials and says HELLO.
func greet(t *testing.T, ctx context.Context, s *vsock.Stack) *vsock.Conn {
	c := dial(t, ctx, s)
	if _, err := c.Write(port1.Hello{ID: 1}.Append(nil)); err != nil {
		t.Errorf("HELLO: %v", err)
	}
	return c
}

// What a frontend does on port 1, and what becomes of its link.
func TestPort1DecidesAboutTheFrontLink(t *testing.T) {
	hello := port1.Hello{ID: 1}.Append(nil)
	for name, c := range map[string]struct {
		meet  func(*testing.T, context.Context, *vsock.Stack)
		ended bool
		again time.Duration // when the link may form again, at least
	}{
		"one connection that says HELLO": {
			meet: func(t *testing.T, ctx context.Context, s *vsock.Stack) { greet(t, ctx, s); <-ctx.Done() },
		},
		"no connection yet": {meet: func(_ *testing.T, ctx context.Context, _ *vsock.Stack) { <-ctx.Done() }},
		"a silent connection": {
			meet:  func(t *testing.T, ctx context.Context, s *vsock.Stack) { dial(t, ctx, s); <-ctx.Done() },
			ended: true,
		},
		"a second connection": {
			meet: func(t *testing.T, ctx context.Context, s *vsock.Stack) {
				greet(t, ctx, s)
				time.Sleep(time.Second)
				s.DialPrivileged(ctx, port1Addr) // the link may end before it is answered
				<-ctx.Done()
			}, ended: true, again: 30 * time.Second,
		},
		"connections of any program's": {
			meet: func(t *testing.T, ctx context.Context, s *vsock.Stack) {
				greet(t, ctx, s)
				for range 100 {
					c, err := s.Dial(ctx, port1Addr)
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
			meet:  func(t *testing.T, ctx context.Context, s *vsock.Stack) { greet(t, ctx, s).Close(); <-ctx.Done() },
			ended: true,
		},
		"a connection that ends its sending": {
			meet:  func(t *testing.T, ctx context.Context, s *vsock.Stack) { greet(t, ctx, s).CloseWrite(); <-ctx.Done() },
			ended: true,
		},
		"half a HELLO and then nothing": {
			meet: func(t *testing.T, ctx context.Context, s *vsock.Stack) {
				dial(t, ctx, s).Write(hello[:20])
				<-ctx.Done()
			}, ended: true,
		},
		"half a header and then the end": {
			meet: func(t *testing.T, ctx context.Context, s *vsock.Stack) {
				c := dial(t, ctx, s)
				c.Write(hello[:7])
				c.Close()
				<-ctx.Done()
			}, ended: true,
		},
		"what is no message": {
			meet: func(t *testing.T, ctx context.Context, s *vsock.Stack) {
				dial(t, ctx, s).Write(make([]byte, 64))
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
					if !first {
						newGuest(t, dom).meet(ctx, s, l)
						return
					}
					first = false
					for len(s.Peers()) == 0 {
						time.Sleep(time.Millisecond)
					}
					c.meet(t, ctx, s)
				})
				l := f.next(t)
				if !c.ended {
					time.Sleep(time.Minute)
					if l.Err() != nil {
						t.Errorf("link has ended: %v", l.Err())
					}
					return
				}
				cause(t, l, 15*time.Second)
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
