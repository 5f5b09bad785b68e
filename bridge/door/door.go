// Package door serves the unix sockets through which programs of the domain make and
// take connections: the hybrid-vsock dialect of package hybrid, at three places.
//
//	<path>                  CONNECT <domain> <port>, LISTEN <port> and ACCEPT
//	<dir>/peer/<id>.sock    CONNECT <port>, to that domain; <name>.sock leads there
//	<path>_<port>           a program's own socket, which gets what comes to the port
//
// # Who may
//
// Who may connect is said by the rights of the files: root and one group. The domain's
// own rules come on top: nobody reaches port 1, nor a port that Config.Deny has, and only
// root listens below 1024. Connections are made from ephemeral ports, so that nothing
// which is for a domain's root (ports 512 to 1023) is to be had here. What other domains
// allow is decided below, by the Stack, for the domain as a whole.
//
// # What a program can do wrong
//
// A program has 5 s for its first line, and a line 256 bytes. All programs of a user may
// have a number of connections open, less of them to one domain, and all users another
// number. What comes in has numbers of its own: no peer can take a program's place.
// One that goes away ends what it had asked for. None waits for another: each has its own
// goroutine, and one that is blocked holds nobody up.
//
// # What cannot be said
//
// Through a unix socket a loss reads as the end: a program that must not take a part for
// the whole ends its messages itself. The other way round nothing is lost: a program that
// dies with bytes unread makes a reset, one that closes an end.
package door

import (
	"cmp"
	"context"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"xvsock/bridge"
	"xvsock/splice"
	"xvsock/vsock"
	"xvsock/xen"
)

// What Config has where nothing is said.
const (
	defaultMode      = 0o660
	defaultTotal     = 1024
	defaultPerUser   = 512
	defaultPerDomain = 256
)

const (
	lineTime    = 5 * time.Second  // for the first line of a client, and for taking ours
	resolveTime = 10 * time.Second // to find out what a name means
	// untakenTime is how long either side may leave what the other one had sent.
	untakenTime = 5 * time.Minute
)

// Stack is what the door needs of a vsock.Stack.
type Stack interface {
	Dial(ctx context.Context, addr vsock.Addr) (*vsock.Conn, error)
	Listen(port uint32) (*vsock.Listener, error)
}

// Resolver finds an address: domain is a name, id, uuid, CID, "self" or "@backend", port
// a number or a service's name; both are well formed, and no more than that. An error
// that wraps an errno is refused with that; any other with EHOSTUNREACH, or EINVAL if it
// wraps services.ErrPort.
type Resolver func(ctx context.Context, domain, port string) (vsock.Addr, error)

// Config configures a Server.
type Config struct {
	// Path is where to listen.
	Path string
	// Mode and Group say who may connect (0: 0660; "": bridge.Group). A group that the
	// domain does not have leaves the socket to the user of this process.
	Mode  fs.FileMode
	Group string
	// Resolve finds addresses.
	Resolve Resolver
	// Deny reports whether no program may connect to a port; nil: none is denied.
	Deny func(port uint32) bool
	// Total, PerUser and PerDomain bound the open connections that programs made: of all
	// programs (0: 1024), of those of one user (0: 512), and of one user's to one domain
	// (0: 256). A listener is one. They bound those that came in for programs as well,
	// which are counted apart: of all, of one user's listeners, and from one domain.
	Total, PerUser, PerDomain int
	// Ready is called once Run listens; it does not wait. Nil: nobody asks.
	Ready func()
	// Log is told who connects, at debug, and who is refused; nil for silence.
	Log *slog.Logger
}

// Server is the door. Its methods may be called by many goroutines at once.
type Server struct {
	cfg     Config
	log     *refusals
	buffers splice.Buffers
	peers   peers

	mu       sync.Mutex
	stack    Stack           // nil: not running
	life     context.Context // of the clients
	clients  map[*client]struct{}
	own      places // of clients that have connected to the door
	incoming places // of those that came in for programs
	refused  uint64
	work     sync.WaitGroup
}

// New returns a Server that does not listen yet.
func New(cfg Config) *Server {
	cfg.Mode = cmp.Or(cfg.Mode, defaultMode)
	cfg.Group = cmp.Or(cfg.Group, bridge.Group)
	cfg.Total = cmp.Or(cfg.Total, defaultTotal)
	cfg.PerUser = cmp.Or(cfg.PerUser, defaultPerUser)
	cfg.PerDomain = cmp.Or(cfg.PerDomain, defaultPerDomain)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Ready == nil {
		cfg.Ready = func() {}
	}
	if cfg.Deny == nil {
		cfg.Deny = func(uint32) bool { return false }
	}
	s := &Server{
		cfg: cfg, log: newRefusals(cfg.Log), clients: make(map[*client]struct{}),
		own: newPlaces(cfg), incoming: newPlaces(cfg),
	}
	s.peers = peers{server: s, made: make(map[xen.DomID]*peerSocket)}
	return s
}

// Run serves until ctx is done, which gives nil, or it cannot listen, of which the error
// begins with the path. When it returns all connections have ended, no goroutine is left,
// and what it made in the file system is gone. It is not called twice at once.
func (s *Server) Run(ctx context.Context, stack Stack) error {
	if _, ok := bridge.GroupID(s.cfg.Group); !ok && s.cfg.Group != bridge.Group {
		s.cfg.Log.Warn("no such group in this domain: programs need to be root's", "group", s.cfg.Group)
	}
	l, err := bridge.Listen(s.cfg.Path, s.access())
	if err != nil {
		return err
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer s.stop(cancel)
	s.mu.Lock()
	s.stack, s.life = stack, ctx
	s.mu.Unlock()
	s.peers.open()
	defer s.peers.close()
	s.cfg.Ready()
	defer context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) })()
	s.accept(ctx, l.UnixListener, "")
	return nil
}

// stop ends all that clients do.
func (s *Server) stop(cancel func()) {
	s.mu.Lock()
	s.stack = nil
	s.mu.Unlock()
	cancel()
	s.work.Wait()
}

// access is the rights of every socket of the door.
func (s *Server) access() bridge.Access { return bridge.Access{Mode: s.cfg.Mode, Group: s.cfg.Group} }

// SetPeers says to which domains there are to be sockets: those that it may be possible
// to connect to. It may be called before Run, and at every change.
func (s *Server) SetPeers(all []Peer) { s.peers.set(all) }

// Client is a program that has a connection open.
type Client struct {
	PID      int32 // 0 if it is not known any more, as of a socket that was made before
	UID, GID uint32
	Since    time.Time
	Does     string // its line, or the path of the socket that was connected to; printable
}

// Status is what a Server does.
type Status struct {
	Clients []Client // oldest first
	Refused uint64   // clients, and connections to them, that got nothing
}

// Status returns what the Server does.
func (s *Server) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Client, 0, len(s.clients))
	for c := range s.clients {
		all = append(all, c.Client)
	}
	slices.SortFunc(all, func(a, b Client) int { return a.Since.Compare(b.Since) })
	return Status{Clients: all, Refused: s.refused}
}
