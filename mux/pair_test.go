package mux

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"xvsock/mux/muxtest"
)

var _ Transport = (*muxtest.End)(nil)

// backlog is an Acceptor of a bounded number of connections.
type backlog chan *Conn

func (b backlog) Offer(c *Conn) bool {
	select {
	case b <- c:
		return true
	default:
		return false
	}
}

// listen is a Route on which every port below 1000 is the backlog.
func (b backlog) listen(local, remote uint32) Route {
	if local < 1000 {
		return Route{Acceptor: b}
	}
	return Route{Reason: ReasonRefused}
}

// pair is two sessions over a link in memory. b listens.
type pair struct {
	a, b       *Session
	endA, endB *muxtest.End
	accepted   backlog
	doneA      chan error
	doneB      chan error
}

func newPair(ring int, cfg Config) *pair {
	p := &pair{accepted: make(backlog, 64)}
	p.endA, p.endB = muxtest.Pipe(ring)
	p.a = NewSession(heated(p.endA), cfg)
	cfg.Route = p.accepted.listen
	cfg.Budget = nil
	p.b = NewSession(heated(p.endB), cfg)
	p.doneA, p.doneB = run(p.a), run(p.b)
	return p
}

func run(s *Session) chan error {
	done := make(chan error, 1)
	go func() { done <- s.Run() }()
	return done
}

func (p *pair) stop() {
	p.a.Close()
	p.b.Close()
	<-p.doneA
	<-p.doneB
}

// settle waits until all that the two sessions do is done.
func (p *pair) settle() { settle(p.a, p.b) }

// connect returns both ends of a new connection to port 7 of b.
func (p *pair) connect(t testing.TB, local uint32) (a, b *Conn) {
	t.Helper()
	a, err := p.a.Dial(t.Context(), local, 7)
	if err != nil {
		t.Fatalf("Dial(%d, 7) = %v", local, err)
	}
	return a, <-p.accepted
}

func TestConn(t *testing.T) {
	for name, size := range map[string]int{"smallest ring": 4 << 10, "ring of 64 KiB": 64 << 10} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				p := newPair(size, Config{})
				c1, err := p.a.Dial(context.Background(), 1<<31, 7)
				if err != nil {
					return nil, nil, nil, err
				}
				c2 := <-p.accepted
				return c1, c2, func() {
					c1.Close()
					c2.Close()
					p.stop()
				}, nil
			})
		})
	}
}

// TestConnOverNetPipe runs the same over a synchronous stream, so that the
// session is known to need no more than bytes in order.
func TestConnOverNetPipe(t *testing.T) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		w1, w2 := net.Pipe()
		a, stopA := carry(w1)
		b, stopB := carry(w2)
		accepted := make(backlog, 1)
		sa := NewSession(heated(a), Config{})
		sb := NewSession(heated(b), Config{Route: accepted.listen})
		doneA, doneB := run(sa), run(sb)
		c1, err := sa.Dial(context.Background(), 1<<31, 7)
		if err != nil {
			return nil, nil, nil, err
		}
		c2 := <-accepted
		return c1, c2, func() {
			c1.Close()
			c2.Close()
			sa.Close()
			sb.Close()
			<-doneA
			<-doneB
			stopA()
			stopB()
		}, nil
	})
}

// carry joins a link in memory to a stream and returns its free end. Chunks of
// whole frames travel with their length before them.
func carry(w net.Conn) (*muxtest.End, func()) {
	free, wire := muxtest.Pipe(64 << 10)
	done := make(chan struct{}, 2)
	room := make(chan struct{}, 1)
	go func() { // from the link to the stream, and waking for both
		defer func() { done <- struct{}{} }()
		for wire.Sleep(0) == nil && wire.Look() == nil {
			select {
			case room <- struct{}{}:
			default:
			}
			a, b, _ := wire.Peek(0)
			n := len(a) + len(b)
			if n == 0 {
				continue
			}
			if sendChunk(w, n, a, b) != nil {
				break
			}
			wire.Discard(n)
			_ = wire.Flush()
		}
		w.Close()
		close(room)
	}()
	go func() { // from the stream to the link
		defer func() { done <- struct{}{} }()
		for {
			n, err := chunkSize(w)
			if err != nil {
				wire.Fail(err)
				return
			}
			a, b := wire.Reserve(n)
			for len(a)+len(b) == 0 {
				wire.Want(n)
				_ = wire.Flush()
				if _, ok := <-room; !ok {
					return
				}
				a, b = wire.Reserve(n)
			}
			if _, err := io.ReadFull(w, a); err != nil {
				return
			}
			if _, err := io.ReadFull(w, b); err != nil {
				return
			}
			_ = wire.Commit(n)
			_ = wire.Flush()
		}
	}()
	return free, func() {
		wire.Fail(errors.New("test over"))
		w.Close()
		<-done
		<-done
	}
}

func sendChunk(w io.Writer, n int, a, b []byte) error {
	for _, p := range [][]byte{{byte(n), byte(n >> 8), byte(n >> 16)}, a, b} {
		if len(p) == 0 {
			continue
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

func chunkSize(r io.Reader) (int, error) {
	var b [3]byte
	_, err := io.ReadFull(r, b[:])
	return int(b[0]) | int(b[1])<<8 | int(b[2])<<16, err
}

func wait[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
