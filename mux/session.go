package mux

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of a Config.
const (
	DefaultMaxConns    = 2048
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

// Route is who may have an incoming connection.
type Route struct {
	// Acceptor is asked first; nil: nobody is. It is for STREAM only.
	Acceptor Acceptor
	// Relay has what the Acceptor did not take: nil: nobody.
	Relay Relay
	// Reason is why a REQUEST is refused that there is nobody for; ReasonNone counts
	// as ReasonRefused.
	Reason Reason
}

// Config says how a Session treats its peer. The zero value refuses every
// incoming connection.
type Config struct {
	// Route is the switch: it returns who gets a REQUEST from the remote to the
	// local port. The pump calls it, so it must not block. Ports 0 and 0xFFFFFFFF
	// never come here.
	Route func(local, remote uint32) Route
	// Permit says whether a connection may be: it returns what the connection
	// stands under (nil: nothing) and ReasonNone, or why it may not be. It is
	// asked for each incoming REQUEST, before Route, and for each Dial, and may
	// be asked again for the same if a Review comes between. It is called
	// without locks of the session, by the pump too, so it must not block. Nil
	// allows all.
	Permit func(local, remote uint32, incoming bool) (Permit, Reason)
	// Budget is the receive memory of this peer; nil: DefaultBudget for this
	// session alone.
	Budget *Budget
	// MaxConns bounds the tuples of the session; 0: DefaultMaxConns.
	MaxConns int
	// DialTimeout bounds a Dial whose context does not; 0: DefaultDialTimeout.
	DialTimeout time.Duration
	// Silence is how long a link with open connections may stay without a frame
	// from the other side, which is asked for one every 10 s, and how long that may
	// take nothing while frames wait for room; 0: DefaultSilence.
	Silence time.Duration
	// Idle is how long a session may be without tuples before it ends with
	// ErrIdle; 0: for ever. It is twice as long if the other side made the last
	// one: who dials is to end the link first, as a Dial that meets the other
	// side's end of it is lost.
	Idle time.Duration
	// Standing is a port, of either side, whose connections are there as long as the link:
	// while there are no others, the link is looked at every 10 s, and not every second.
	// 0: none.
	Standing uint32
	// Log hears why a connection was lost to a lie, once a second at most; nil:
	// nobody does.
	Log *slog.Logger
}

func (cfg *Config) setDefaults() {
	if cfg.Route == nil {
		cfg.Route = func(uint32, uint32) Route { return Route{} }
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
// Locks are taken in this order: Conn.writing, duty, Session.mu, receiver.mu and
// table.mu. Route, Permit, Offer, Deliver and the transport's Flush, Wait and Peek
// are called without any; Reserve, Commit, Want, Permit.Release, Relay.Reset and Lost
// and the function of a Review under Session.mu; Fail and Wake with or without it.
type Session struct {
	cfg        Config
	t          Transport
	foreign    Foreign // t, if peeked bytes may fault; else nil
	maxPayload int

	table table
	duty  duty

	mu      sync.Mutex
	tx      sender
	linger  queue // in the order their time ends
	asked   queue // relayed, unanswered, in that order
	held    held
	leaving *relayed // whose RST came last
	closing bool
	ended   *ResetError // the link's end
	heard   time.Time   // last frame, or the first tuple after none
	nextAsk time.Time
	turned  time.Time // last turn of the pump
	wished  time.Time // last turn that asked for room again
	moved   time.Time // last turn at which nothing waited for room, or something went
	movedTo uint64    // tx.committed then
	since   time.Time // last change between no tuple and some
	theirs  bool      // the other side made the last tuple
	stands  int       // tuples of Config.Standing

	relays     atomic.Int64 // relayed tuples; moves under mu
	unanswered int          // those of them that the other side asked for and nobody answered
	lost       []Relay      // that were told of the link's end

	roused *lane // whose sender was woken since the last turn of one who serves; nil: nobody's
	crowd  lane  // stands for more than one there

	reviews atomic.Uint64 // begun; moves under mu

	rxSeq     uint32    // under duty
	served    tuple     // under duty: whose frame came last
	others    bool      // under duty: one who served has done what others wait for
	delivered Relay     // under duty: took frames and was not flushed
	lieLogged time.Time // under duty
	came      traffic   // under duty

	received     traffic // came, as of the last turn; under mu
	strays, lies atomic.Uint64
}

// NewSession returns a session over t, of which it is the only user from now
// on. It does nothing before Run.
func NewSession(t Transport, cfg Config) *Session {
	cfg.setDefaults()
	s := &Session{cfg: cfg, t: t, maxPayload: t.MaxPayload(), since: time.Now()}
	s.table.entries = make(map[tuple]entry)
	if f, ok := t.(Foreign); ok && f.Mapped() {
		s.foreign, s.duty.wait = f, mappedTicks
	}
	s.tx.init(t)
	s.duty.init(t.Wake)
	return s
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
