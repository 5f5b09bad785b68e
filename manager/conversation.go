package manager

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"xvsock/link"
	"xvsock/manager/port1"
	"xvsock/xen"
)

// How long the manager waits for a frontend (rule R6). How long a message may take
// is package port1's.
const (
	helloTime   = 10 * time.Second // from the connection on, for the first HELLO
	gatherTime  = 3 * time.Second  // from that on, for the peers that it names to be attached here
	confirmTime = 5 * time.Second  // for the PEER_ack to a PEER
)

// Bounds on what is kept for one conversation (rule R7).
const (
	maxUnacked = 1024    // PEERs that were sent and not confirmed, and eight more for each peer
	maxReplies = 32      // answers that wait to be sent, besides one for each half-open request
	batchSize  = 8 << 10 // bytes of messages that are made at once, and the longest two more
)

// Errors that end a front link because of what happens on its port 1.
var (
	errEnded       = errors.New("the connection to port 1 has ended")
	errNoHello     = errors.New("no HELLO on port 1")
	errUnconfirmed = errors.New("a PEER was not confirmed")
	// errForged is wrapped by what makes the link BROKEN: messages that no honest
	// frontend sends (rule R10).
	errForged = errors.New("port 1")
	errBug    = errors.New("bug on port 1")
)

// forged is an error that ends a front link as BROKEN.
func forged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errForged}, args...)...)
}

// conversation is what goes over a frontend's connection to port 1.
//
//	         HELLO                    link or connection ends
//	silent ---------> greeted ------------------------------> left
//	   |                                                        ^
//	   +--------------------------------------------------------+
//
// One goroutine reads and does what the messages ask for, another one writes. What
// is to be written is noted by whoever has it, under Manager.mu, and never waited
// for; it is bounded by what there is to know (one entry a peer, one request a pair)
// and by what the frontend itself has asked (its reader waits while maxReplies are
// not written). So a frontend that floods waits for itself, and one that does not
// read is given up.
type conversation struct {
	m     *Manager
	f     *frontend
	link  *link.Link
	conn  net.Conn
	port1 *port1.Conn

	work  chan struct{} // capacity 1: there is something to write
	room  chan struct{} // capacity 1: something was written
	pause *time.Timer   // the reader's
	batch []byte        // the writer's

	// Manager.mu guards what follows.
	greeted bool
	behind  bool // what it is to be told is to be looked at anew, for every peer
	left    bool
	hello   *port1.Hello // to be answered once all PEERs were sent
	gather  *time.Timer  // runs until the answer need not wait for more of them
	late    bool         // it has run out

	records map[xen.DomID]*record
	due     []xen.DomID          // in records; to be told of, oldest first
	unacked map[uint64]time.Time // when a PEER was sent, by its id
	confirm *time.Timer          // runs while there are unacked ones
	out, in []port1.Range        // of the PEER that is being made

	replies    []reply             // to its requests, oldest first
	halfOpen   int                 // requests of its own that are indicated
	indicating []*request          // that it is to be sent a CONNECT_ind for
	unanswered map[uint64]*request // that it was sent one for, by its id; nil: it is too late
}

// newConversation returns the conversation with f over conn, which is silent. The
// caller holds mu.
func newConversation(f *frontend, conn net.Conn) *conversation {
	c := &conversation{
		m: f.m, f: f, link: f.link, conn: conn, port1: port1.NewConn(conn),
		work: make(chan struct{}, 1), room: make(chan struct{}, 1),
		pause:      newStoppedTimer(),
		records:    make(map[xen.DomID]*record),
		unacked:    make(map[uint64]time.Time),
		replies:    make([]reply, 0, maxReplies+f.m.cfg.Budgets.HalfOpen),
		unanswered: make(map[uint64]*request),
	}
	c.confirm = time.AfterFunc(time.Hour, c.checkConfirmed)
	c.confirm.Stop()
	c.gather = time.AfterFunc(time.Hour, c.giveUpGathering)
	c.gather.Stop()
	return c
}

func newStoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// run holds the conversation until the connection, the link or ctx ends. It leaves
// the link ended.
func (c *conversation) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	defer stop()
	hello := time.AfterFunc(helloTime, c.checkGreeted)
	defer hello.Stop()
	var writing sync.WaitGroup
	writing.Go(func() {
		if err := c.contain(func() error { c.write(); return nil }); err != nil {
			c.end(err)
		}
	})
	err := c.contain(func() error { return c.read(ctx) })
	if ctx.Err() == nil {
		c.end(err)
	} else {
		c.link.End(link.Closed, nil)
	}
	c.m.mu.Lock()
	c.leave()
	c.m.mu.Unlock()
	writing.Wait()
}

// contain runs the reader or the writer. A panic there is a bug of ours. It ends this
// front link, and not the process, which serves all the others (rule R16).
func (c *conversation) contain(side func() error) (err error) {
	defer func() {
		if bug := recover(); bug != nil {
			err = fmt.Errorf("%w: %v", errBug, bug)
			c.m.log.Error("port 1: front link ended by a bug", "domain", c.f.id, "bug", bug, "stack", string(debug.Stack()))
		}
	}()
	return side()
}

// end ends the front link for what was wrong with the conversation.
func (c *conversation) end(err error) {
	cause := link.Lost
	var malformed *port1.Error
	if errors.As(err, &malformed) || errors.Is(err, errForged) || errors.Is(err, errBug) {
		cause = link.Broken
	}
	c.link.End(cause, err)
	c.conn.Close()
}

// leave ends all that goes on with the frontend. The caller holds mu.
func (c *conversation) leave() {
	if c.left {
		return
	}
	c.left = true
	c.confirm.Stop()
	c.gather.Stop()
	if c.f.talk == c {
		c.f.talk = nil
	}
	c.m.abandon(c)
	c.rouse()
}

// checkGreeted ends the link of a frontend that has said nothing.
func (c *conversation) checkGreeted() {
	c.m.mu.Lock()
	silent := !c.greeted
	c.m.mu.Unlock()
	if silent {
		c.end(errNoHello)
	}
}
