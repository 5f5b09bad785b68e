package bench

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"xvsock/services"
)

const (
	defaultPerDomain = MaxConns + 100 // what is closing counts too
	defaultTotal     = 2 * defaultPerDomain
	defaultMemory    = 32 << 20

	helloTime = 10 * time.Second // in which a connection says what it is
)

// Config is what a Server needs.
type Config struct {
	// Identify tells who is calling; without it nobody is served.
	Identify services.Identify
	// PerDomain and Total bound connections as in services.Acceptor; 0: what one
	// measurement takes, and twice that.
	PerDomain, Total int
	// Memory bounds the buffers of all connections, in bytes (0: 32 MiB).
	Memory int64
	// Log is told of faults; nil for silence.
	Log *slog.Logger
}

// Server is the other end of a measurement. It implements services.Service.
type Server struct {
	memory   int64        // that may be used
	used     atomic.Int64 // of it
	acceptor services.Acceptor
}

// NewServer returns a server.
func NewServer(c Config) *Server {
	s := &Server{memory: cmp.Or(c.Memory, defaultMemory)}
	s.acceptor = services.Acceptor{
		Handle:    s.handle,
		Identify:  c.Identify,
		PerDomain: cmp.Or(c.PerDomain, defaultPerDomain),
		Total:     cmp.Or(c.Total, defaultTotal),
		Log:       c.Log,
	}
	return s
}

// Serve implements services.Service.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return s.acceptor.Serve(ctx, l) }

// Counts implements services.Counter.
func (s *Server) Counts() (open, served, refused, panics uint64) { return s.acceptor.Counts() }

// handle serves one connection. What bounds its time is a timer, not deadlines, for
// these have the connection read the clock again and again.
func (s *Server) handle(_ context.Context, conn net.Conn, _ services.Caller) {
	end := time.AfterFunc(helloTime, func() { conn.Close() })
	defer end.Stop()
	var first [helloSize]byte
	if _, err := io.ReadFull(conn, first[:]); err != nil {
		return
	}
	h, err := parseHello(first[:])
	if err != nil || !end.Stop() {
		return
	}
	end.Reset(h.time)
	n := h.buffer()
	if s.used.Add(int64(n)) > s.memory {
		s.used.Add(-int64(n))
		conn.Write([]byte{answerFull})
		return
	}
	defer s.used.Add(-int64(n))
	if _, err := conn.Write([]byte{answerYes}); err != nil {
		return
	}
	h.serve(conn, make([]byte, n))
}
