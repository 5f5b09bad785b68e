// Package client is the frontend's side of port 1: it holds the conversation with
// the connection manager, keeps what the manager says about other domains, and
// makes, serves and ends the direct links to them (design, section 6).
//
// The records that the manager sends (PEER) are this domain's permission list. They
// are kept while the front link is down, and so are the links: the manager is
// needed to make one, not to have it.
//
// What the manager says is believed as far as it decides who may talk to whom. That
// a link leads to the domain with the id that it named is the hypervisor's word: it
// takes grants and event channels of that domain only.
package client

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"xvsock/link"
	"xvsock/manager/policy"
	"xvsock/manager/port1"
	"xvsock/vsock"
	"xvsock/xen"
)

// Bounds on what one domain keeps, whatever the manager says (rule R7).
const (
	maxRecords      = 4096
	defaultMaxLinks = 64
)

// How long the Client waits for others (rule R6).
const (
	answerTimeout = 10 * time.Second // for a CONNECT_rsp, and for the manager's HELLO
	bindTimeout   = 8 * time.Second  // for the other side to bind, after our answer
	// patience is how long a CONNECT_ind is kept when the link was made too often
	// lately; the manager waits 4 s for the answer.
	patience   = 2 * time.Second
	helloPause = time.Second // a change of the links is told so late
	// revokeGrace is how long the other side of a link has to hear that its
	// connections were revoked, and revokeLook how often is looked.
	revokeGrace = 100 * time.Millisecond
	revokeLook  = 5 * time.Millisecond
)

// Config describes a Client.
type Config struct {
	Domain *link.Domain
	// Link says how peer links are made. The Ledger should be the one of the front
	// link: a domain's pages count wherever they were granted.
	Link link.Options
	// MaxLinks is the most peer links at a time that this side has asked for, at
	// most port1.MaxLinks; 0 is 64. Those that others have asked for are bounded
	// together with them, by port1.MaxLinks: that many stand in a HELLO. So a
	// domain of many clients serves more than its own clients' bound.
	MaxLinks int
	// Changed is called after something has changed of whom Peers lists; nil: nobody
	// asks. It does not wait.
	Changed func()
	Log     *slog.Logger // nil: none
}

// Client is a frontend's side of port 1. It is made before the Stack whose Guard and
// Broker it is, and knows the Stack from Join on. Its methods may be called by many
// goroutines at once.
//
// Locks are taken in this order: those of a Stack's sessions, mu, those of a talk, a
// Ledger or a Link. mu is not held over a system call, nor over a call to the Stack.
type Client struct {
	cfg    Config
	log    *slog.Logger
	ctx    context.Context // of the link work; ended by Close and Lose
	cancel context.CancelCauseFunc
	tasks  sync.WaitGroup
	meter  *policy.Meter

	mu      sync.Mutex
	peers   map[xen.DomID]*peer
	stack   *vsock.Stack // nil before the first Join
	joining bool         // a Join is under way
	talk    *talk        // nil while there is no conversation
	lastID  uint64       // of our messages
	holding int          // peers with an offer or a link
	asked   int          // those of them that this side has asked for
	over    error        // why nothing begins any more; nil while it may
}

var (
	_ vsock.Guard  = (*Client)(nil)
	_ vsock.Broker = (*Client)(nil)
)

// New returns a Client that knows of no other domain yet.
func New(cfg Config) *Client {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxLinks == 0 {
		cfg.MaxLinks = defaultMaxLinks
	}
	cfg.MaxLinks = min(cfg.MaxLinks, port1.MaxLinks)
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	if cfg.Link.Ledger == nil {
		cfg.Link.Ledger = link.NewLedger()
	}
	c := &Client{cfg: cfg, log: cfg.Log, meter: policy.NewMeter(), peers: make(map[xen.DomID]*peer)}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// Close ends the conversation and all peer links, and returns once everything that
// was held for them is given back. It waits for no other domain.
func (c *Client) Close() error {
	c.end(net.ErrClosed, net.ErrClosed)
	return nil
}

// errLost is for Dials that the loss of everything meets.
var errLost = &linkError{errno: syscall.EHOSTUNREACH, why: link.ErrResumed}

// Lose is for a domain that was resumed: everything that is known of other domains
// and all links to them are of before. It ends the links as Lost and the
// conversation, returns like Close, and knows of no other domain then. The next Join
// begins anew.
func (c *Client) Lose() {
	c.end(errLost, link.ErrResumed)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over != errLost {
		return // Close came meanwhile
	}
	c.over = nil
	c.peers = make(map[xen.DomID]*peer)
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.cfg.Changed()
}

// end lets nothing begin any more because of over, and ends everything for cause.
func (c *Client) end(over, cause error) {
	c.mu.Lock()
	if c.over != net.ErrClosed {
		c.over = over
	}
	cancel := c.cancel
	c.mu.Unlock()
	cancel(cause)
	c.tasks.Wait()
}

// nextID returns the id of our next message. Answers carry it back over our own
// front link alone, so it need not be hard to guess. The caller holds mu.
func (c *Client) nextID() uint64 {
	c.lastID++
	return c.lastID
}
