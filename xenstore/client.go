// Package xenstore is a client of xenstore, the small tree of named values in
// which the toolstack and the domains of a host tell each other how to meet.
//
// Open reaches xenstored by its unix socket or through the kernel. A Client may
// be used by many goroutines at once. Every call takes a context and returns as
// soon as it ends; what was sent by then may still be done by xenstored.
// Client.Transaction makes several requests one, Client.Watch waits for changes.
//
// xenstored itself is trusted as the hypervisor is. The names and values in the
// store are not: another domain wrote many of them, and a value may hold any
// bytes. ParseUint, CheckName and Join are for those.
package xenstore

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"xvsock/xen"
)

// Config says what kind of connection a Client gets. The zero value suits a
// stream to xenstored, such as its unix socket.
type Config struct {
	// Device says that the connection is /dev/xen/xenbus or behaves as it does:
	// a request's payload is at most MaxDevicePayload, a write may fail with the
	// errno of the one request that it carries, and there is one request at a
	// time. The last is a need: the driver holds the file's lock while it waits
	// for the answer to a WATCH, and takes the same lock to deliver the answer
	// to any earlier request, on the one thread that receives both. A second
	// request under way would stop xenstore for the whole domain
	// (xenbus_dev_queue_reply and xenbus_write_watch in
	// drivers/xen/xenbus/xenbus_dev_frontend.c, process_msg in xenbus_comms.c).
	Device bool
}

// maxOutstanding is how many requests a Client has under way on a stream. It is
// below the 20 after which C xenstored stops reading from a domain.
const maxOutstanding = 16

// Client is a connection to xenstored. It has two goroutines, which end with it:
// one writes requests, one reads answers and events; nothing that a user of the
// Client does or leaves undone stops either.
type Client struct {
	store
	conn       io.ReadWriteCloser
	device     bool
	maxPayload int

	slots chan struct{}  // one value for each request under way
	queue chan *request  // to the writer; has room for all under way
	done  chan struct{}  // closed when the connection has ended
	group sync.WaitGroup // all goroutines

	dropped atomic.Uint64

	closing  sync.Once
	closeErr error

	mu      sync.Mutex
	err     error // why the connection ended
	pending map[uint32]*request
	lastID  uint32
	watches map[string]*Watch // by token
	tokens  uint64            // made so far
}

// New makes a Client of a connection, which it owns from then on. Each request
// is one Write.
func New(conn io.ReadWriteCloser, config Config) *Client {
	outstanding, payload := maxOutstanding, MaxPayload
	if config.Device {
		outstanding, payload = 1, MaxDevicePayload
	}
	c := &Client{
		conn:       conn,
		device:     config.Device,
		maxPayload: payload,
		slots:      make(chan struct{}, outstanding),
		queue:      make(chan *request, outstanding),
		done:       make(chan struct{}),
		pending:    make(map[uint32]*request),
		watches:    make(map[string]*Watch),
	}
	c.store.client = c
	c.group.Go(c.writeRequests)
	c.group.Go(c.readMessages)
	return c
}

// Close ends the connection. Every call under way returns ErrClosed, every watch
// fires a last time. xenstored aborts the transactions and drops the watches. It
// has to be called also when the connection has ended by itself. It waits for a
// WATCH that the kernel is just carrying out, which nothing can interrupt.
func (c *Client) Close() error {
	c.fail(ErrClosed)
	err := c.closeConn()
	c.group.Wait()
	return err
}

// closeConn closes the connection once. It is not called under mu: it may have
// to wait for a write that is in the kernel.
func (c *Client) closeConn() error {
	c.closing.Do(func() { c.closeErr = c.conn.Close() })
	return c.closeErr
}

// Done is closed when the connection has ended, by Close or by itself.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection has ended, and is nil while it has not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Dropped counts messages that nobody waited for: answers without a request and
// events without a watch. A few events are normal after a Watch is closed.
func (c *Client) Dropped() uint64 { return c.dropped.Load() }

// DomainPath is the directory of domain d, /local/domain/<d>.
func (c *Client) DomainPath(ctx context.Context, d xen.DomID) (string, error) {
	answer, err := c.call(ctx, &request{op: OpGetDomainPath, payload: AppendStrings(nil, d.String())})
	if err != nil {
		return "", &Error{Op: OpGetDomainPath, Err: err}
	}
	return trimNUL(answer), nil
}

// IsIntroduced reports whether xenstored serves domain d: whether it has been
// introduced and not yet destroyed. Only domain 0 may ask.
func (c *Client) IsIntroduced(ctx context.Context, d xen.DomID) (bool, error) {
	answer, err := c.call(ctx, &request{op: OpIsDomainIntroduced, payload: AppendStrings(nil, d.String())})
	if err != nil {
		return false, &Error{Op: OpIsDomainIntroduced, Err: err}
	}
	switch text := trimNUL(answer); text {
	case "T", "F":
		return text == "T", nil
	default:
		return false, &Error{Op: OpIsDomainIntroduced, Err: fmt.Errorf("%w: answer %.16q", ErrProtocol, text)}
	}
}

// fail ends the connection for reason err, unless it has ended before.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.done)
	for id, r := range c.pending {
		delete(c.pending, id)
		r.answer <- answer{err: err}
	}
	for _, w := range c.watches {
		w.fire()
	}
}

// spawn runs f in a goroutine that Close waits for. It does nothing if the
// connection has ended.
func (c *Client) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.group.Go(f)
	return true
}

// newToken is a token that no watch of this connection had before, so that an
// event of a watch that is gone can never be taken for one of another.
func (c *Client) newToken() string {
	c.tokens++
	return strconv.FormatUint(c.tokens, 16)
}
