package metrics

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"xvsock/services"
)

const (
	defaultPerDomain = 4
	defaultTotal     = 256
	defaultFresh     = 100 * time.Millisecond

	// scrapes is how many answers may be under way in all, of which a domain may
	// have one: each may hold a text in memory for as long as its caller takes.
	scrapes   = 16
	writeTime = 10 * time.Second // for a whole answer
	// After an answer, what the caller still sends is read for this long, so that
	// the end of the connection does not overtake the answer.
	lingerTime  = time.Second
	lingerBytes = 64 << 10
)

// Config is what a Server needs.
type Config struct {
	// Collect writes all numbers. It is called by one goroutine at a time, for an
	// answer that no recent text serves; the caller is not known to it.
	Collect func(*Writer)
	// Identify tells who is calling; without it nobody is served.
	Identify services.Identify
	// PerDomain and Total bound connections as in services.Acceptor (0: 4 and 256).
	PerDomain, Total int
	// Fresh is how old a text may be when an answer begins (0: 0.1 s), so that no
	// flood of callers can have the numbers collected all the time.
	Fresh time.Duration
	// Log is told of faults; nil for silence.
	Log *slog.Logger
}

// Server answers on port 5. It implements services.Service.
type Server struct {
	config   Config
	scrapes  *services.Quota
	acceptor services.Acceptor

	mu        sync.Mutex // held while numbers are collected
	text      []byte     // not changed once it is here
	collected time.Time
	mistaken  bool // a mistake was logged
}

// NewServer returns a server.
func NewServer(c Config) *Server {
	c.Fresh = cmp.Or(c.Fresh, defaultFresh)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{config: c, scrapes: services.NewQuota(1, scrapes)}
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

// handle gives one answer.
func (s *Server) handle(_ context.Context, conn net.Conn, caller services.Caller) {
	asked := receive(conn)
	if asked == gone {
		return
	}
	s.answer(conn, asked, caller)
	closeGently(conn)
}

func (s *Server) answer(conn net.Conn, asked status, caller services.Caller) {
	var text []byte
	if asked == httpOK || asked == bareText {
		if s.scrapes.Acquire(caller.Domain) {
			defer s.scrapes.Release(caller.Domain)
			text = s.fresh()
		} else if asked == bareText {
			return
		} else {
			asked = unavailable
		}
	}
	if conn.SetWriteDeadline(time.Now().Add(writeTime)) != nil {
		return
	}
	if h := header(asked, len(text)); h != nil {
		if _, err := conn.Write(h); err != nil {
			return
		}
	}
	conn.Write(text) // whether the caller takes it is its own affair
}

// fresh returns a text that is not older than it may be.
func (s *Server) fresh() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text != nil && time.Since(s.collected) < s.config.Fresh {
		return s.text
	}
	var w Writer
	if s.config.Collect != nil {
		s.config.Collect(&w)
	}
	// A mistake is told once, not at each scrape.
	if err := w.Err(); err != nil && !s.mistaken {
		s.mistaken = true
		s.config.Log.Error("metrics", "error", err)
	}
	s.text, s.collected = w.Text(), time.Now()
	return s.text
}

// closeGently ends our sending and waits a little for the caller to end its own, where
// the connection can say so apart from its end.
func closeGently(conn net.Conn) {
	half, can := conn.(interface{ CloseWrite() error })
	if !can || half.CloseWrite() != nil {
		return
	}
	if conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		io.CopyN(io.Discard, conn, lingerBytes)
	}
}
