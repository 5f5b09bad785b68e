// Package echo is the service on port 7: it sends back what it is sent (RFC
// 862), for trying out and measuring a way between two domains.
package echo

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"xvsock/services"
)

const (
	bufferSize  = 32 << 10
	defaultIdle = time.Minute
)

// Config is what a Server needs.
type Config struct {
	// Identify tells who is calling; without it nobody is served.
	Identify services.Identify
	// PerDomain and Total bound connections as in services.Acceptor.
	PerDomain, Total int
	// Idle is how long a connection may lie without a byte coming in, or
	// without the peer taking one (0: one minute).
	Idle time.Duration
	// Log is told of faults; nil for silence.
	Log *slog.Logger
}

// Server implements services.Service.
type Server struct {
	idle     time.Duration
	buffers  sync.Pool // of *[bufferSize]byte, one for each open connection
	acceptor services.Acceptor
}

// NewServer returns a server.
func NewServer(c Config) *Server {
	s := &Server{
		idle:    cmp.Or(c.Idle, defaultIdle),
		buffers: sync.Pool{New: func() any { return new([bufferSize]byte) }},
	}
	s.acceptor = services.Acceptor{
		Handle:    s.handle,
		Identify:  c.Identify,
		PerDomain: c.PerDomain,
		Total:     c.Total,
		Log:       c.Log,
	}
	return s
}

// Serve implements services.Service.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return s.acceptor.Serve(ctx, l) }

// Counts implements services.Counter.
func (s *Server) Counts() (open, served, refused, panics uint64) { return s.acceptor.Counts() }

func (s *Server) handle(_ context.Context, conn net.Conn, _ services.Caller) {
	buffer := s.buffers.Get().(*[bufferSize]byte)
	defer func() {
		clear(buffer[:]) // a buffer never carries bytes from one peer to another
		s.buffers.Put(buffer)
	}()
	s.echo(conn, buffer[:])
}

// echo copies until the peer ends its sending, breaks off or idles. There is
// one deadline for both directions of a round: a peer that sends and does not
// read is not heard either, and loses the connection.
func (s *Server) echo(conn net.Conn, buffer []byte) {
	for {
		if conn.SetDeadline(time.Now().Add(s.idle)) != nil {
			return
		}
		n, readErr := conn.Read(buffer)
		if n > 0 {
			if conn.SetDeadline(time.Now().Add(s.idle)) != nil {
				return
			}
			if _, err := conn.Write(buffer[:n]); err != nil {
				return
			}
		}
		if readErr != nil {
			closeWrite(conn)
			return
		}
	}
}

// closeWrite tells the peer that no more comes, where the connection can say
// so apart from its end.
func closeWrite(conn net.Conn) {
	if half, can := conn.(interface{ CloseWrite() error }); can {
		half.CloseWrite()
	}
}
