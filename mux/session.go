package mux

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Defaults of a Config.
const (
	DefaultMaxConns    = 1024
	DefaultDialTimeout = 10 * time.Second
	DefaultSilence     = 60 * time.Second
)

// Acceptor takes incoming connections: a listener's backlog.
type Acceptor interface {
	// Offer takes the connection, or returns false to have it refused. It must
	// not block and must not touch the connection before it returns; another
	// goroutine may at once. Who takes a connection closes it.
	Offer(c *Conn) bool
}

// Config says how a Session treats its peer. The zero value refuses every
// incoming connection.
type Config struct {
	// Route is the switch: it returns who gets a REQUEST from the remote to the
	// local port, or nil and the reason to refuse. The pump calls it, so it
	// must not block. Ports 0 and 0xFFFFFFFF never come here.
	Route func(local, remote uint32) (Acceptor, Reason)
	// Budget is the receive memory of this peer; nil: DefaultBudget for this
	// session alone.
	Budget *Budget
	// MaxConns bounds the tuples of the session; 0: DefaultMaxConns.
	MaxConns int
	// DialTimeout bounds a Dial whose context does not; 0: DefaultDialTimeout.
	DialTimeout time.Duration
	// Silence is how long a link with open connections may stay without a frame
	// from the other side, which is asked for one every 10 s; 0: DefaultSilence.
	Silence time.Duration
	// Log hears why a connection was lost to a lie, once a second at most; nil:
	// nobody does.
	Log *slog.Logger
}

func (cfg *Config) setDefaults() {
	if cfg.Route == nil {
		cfg.Route = func(uint32, uint32) (Acceptor, Reason) { return nil, ReasonRefused }
	}
	if cfg.Budget == nil {
		cfg.Budget = NewBudget(DefaultBudget, nil)
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = DefaultMaxConns
	}
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = DefaultDialTimeout
	}
	if cfg.Silence == 0 {
		cfg.Silence = DefaultSilence
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
}

// Session is one side of all connections of a link.
//
// Locks are taken in this order: Conn.writing, Session.mu, receiver.mu and
// table.mu. Route, Offer and the transport's Flush, Wait and Peek are called
// without any; Reserve, Commit and Want under Session.mu.
type Session struct {
	cfg        Config
	t          Transport
	maxPayload int

	table table

	mu      sync.Mutex
	tx      sender
	linger  queue // in the order their time ends
	closing bool
	ended   *ResetError // the link's end
	heard   time.Time   // last frame, or the first tuple after none
	nextAsk time.Time
	turned  time.Time // last turn of the pump
	since   time.Time // last change between no tuple and some

	rxSeq     uint32    // the pump's
	lieLogged time.Time // the pump's

	rxFrames, rxBytes atomic.Uint64
	strays, lies      atomic.Uint64
}

// NewSession returns a session over t, of which it is the only user from now
// on. It does nothing before Run.
func NewSession(t Transport, cfg Config) *Session {
	cfg.setDefaults()
	s := &Session{cfg: cfg, t: t, maxPayload: t.MaxPayload(), since: time.Now()}
	s.table.entries = make(map[tuple]owner)
	s.tx.init(t)
	return s
}

// Dial connects the local port to the remote one. It returns context.Cause if
// ctx ends first, ETIMEDOUT after Config.DialTimeout, EADDRINUSE if the tuple is
// taken, EADDRNOTAVAIL for a port that is none, ENOBUFS if this side is out of
// budget or tuples, and *ResetError if the other side refused or the link ended.
func (s *Session) Dial(ctx context.Context, local, remote uint32) (*Conn, error) {
	if !validPort(local) || !validPort(remote) {
		return nil, syscall.EADDRNOTAVAIL
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.DialTimeout, syscall.ETIMEDOUT)
	defer cancel()
	c, err := s.request(tuple{local, remote})
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		c.cond.Broadcast()
	})
	defer stop()
	if err := c.await(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// request makes the tuple and sends REQUEST.
func (s *Session) request(k tuple) (*Conn, error) {
	s.mu.Lock()
	defer s.unlock()
	switch {
	case s.ended != nil:
		return nil, s.ended
	case s.closing:
		return nil, &ResetError{Cause: ErrSessionClosed}
	case s.table.get(k) != nil:
		return nil, syscall.EADDRINUSE
	case s.table.len() >= s.cfg.MaxConns:
		return nil, syscall.ENOBUFS
	}
	c := newConn(s, k, false)
	if c == nil {
		return nil, syscall.ENOBUFS
	}
	if s.enter(c) {
		s.t.Wake() // the pump may wait without limit
	}
	c.open = true
	c.want(pendRequest)
	s.tx.drain()
	return c, nil
}

// await waits for the answer to REQUEST.
func (c *Conn) await(ctx context.Context) error {
	c.s.mu.Lock()
	defer c.s.unlock()
	for c.state == dialing && ctx.Err() == nil {
		c.cond.Wait()
	}
	if c.answered {
		return nil
	}
	if c.state == dialing {
		c.endWrites(context.Cause(ctx))
		c.beginReset(ReasonNone)
		c.s.tx.drain()
	}
	return c.writeErr
}

// enter puts a new connection into the table. The first one starts the clock of
// silence.
func (s *Session) enter(c *Conn) (first bool) {
	if s.table.len() == 0 {
		first = true
		s.since = time.Now()
		s.hear(s.since)
	}
	s.table.put(c.key, c)
	return first
}

// left is called after a tuple was removed.
func (s *Session) left() {
	if s.table.len() == 0 {
		s.since = time.Now()
	}
}

// Reset ends the connections that match, with RST to both ends, and returns how
// many. It is how a revocation takes effect. match must not call the session.
func (s *Session) Reset(match func(local, remote uint32, incoming bool) bool, r Reason) int {
	n := 0
	s.locked(func() {
		for _, o := range s.table.all() {
			if i := o.info(); match(i.Local, i.Remote, i.Incoming) {
				o.reset(r)
				n++
			}
		}
	})
	return n
}

// Close resets all connections with ReasonShuttingDown and ends the link. It
// does not wait for the other side, and so cannot promise that it hears why.
func (s *Session) Close() {
	s.locked(func() {
		s.closing = true
		for _, o := range s.table.all() {
			o.reset(ReasonShuttingDown)
		}
	})
	s.t.Fail(ErrSessionClosed)
}

// CloseIdle is Close for a session without tuples; else it returns false and
// does nothing. No Dial can come between the look and the end.
func (s *Session) CloseIdle() bool {
	s.mu.Lock()
	if s.table.len() > 0 {
		s.mu.Unlock()
		return false
	}
	s.closing = true
	s.mu.Unlock()
	s.t.Fail(ErrSessionClosed)
	return true
}

// locked runs f under Session.mu and sends what that made sendable.
func (s *Session) locked(f func()) {
	s.mu.Lock()
	defer s.unlock()
	f()
	s.tx.drain()
}

// unlock gives up Session.mu and tells the other side of what was sent. It is
// deferred: whoever recovers a panic of a connection's user must not find the
// session locked for ever.
func (s *Session) unlock() {
	live := s.tx.err == nil
	s.mu.Unlock()
	if live {
		s.flush()
	}
}

// flush is called without a lock, as it may be a system call.
func (s *Session) flush() {
	if err := s.t.Flush(); err != nil {
		s.t.Fail(err)
	}
}
