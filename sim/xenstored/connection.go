package xenstored

import (
	"bytes"
	"io"
	"slices"

	"xvsock/xenstore"
)

// connection is the server's end of a connection, and the client's at once.
type connection struct {
	server *Server

	writing  chan struct{} // holds a value while a Write is under way
	readable chan struct{} // gets a value when there is something to read
	writable chan struct{} // gets a value when a request may have become possible
	over     chan struct{} // closed when the connection has ended

	in []byte // the start of a request; only used by Write

	// Guarded by Server.mu:
	domain          *domain
	ended           bool // by the server
	closed          bool // by the client
	out             []message
	outstanding     int // answers in out
	memory          int // bytes in out
	watches         []*watch
	transactions    map[uint32]*transaction
	stale           map[uint32]bool // transactions from before a resume
	lastTransaction uint32
}

func newConnection(s *Server) *connection {
	return &connection{
		server:       s,
		writing:      make(chan struct{}, 1),
		readable:     make(chan struct{}, 1),
		writable:     make(chan struct{}, 1),
		over:         make(chan struct{}),
		transactions: make(map[uint32]*transaction),
		stale:        make(map[uint32]bool),
	}
}

// wake leaves a value in a channel that has room for one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Read returns what the server has sent.
func (c *connection) Read(p []byte) (int, error) {
	for {
		n, err := c.take(p)
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
		select {
		case <-c.readable:
		case <-c.over:
		}
	}
}

// Write carries out the requests that p completes. It waits while the domain is
// suspended, or has left too many answers unread.
func (c *connection) Write(p []byte) (int, error) {
	select {
	case c.writing <- struct{}{}:
		defer func() { <-c.writing }()
	case <-c.over:
		return 0, io.ErrClosedPipe
	}
	c.in = append(c.in, p...)
	for len(c.in) >= xenstore.HeaderSize {
		h, err := xenstore.ParseHeader(c.in)
		if err != nil {
			c.kill()
			return 0, io.ErrClosedPipe
		}
		size := xenstore.HeaderSize + int(h.Length)
		if len(c.in) < size {
			break
		}
		payload := bytes.Clone(c.in[xenstore.HeaderSize:size])
		c.in = slices.Delete(c.in, 0, size)
		if !c.admit() {
			return 0, io.ErrClosedPipe
		}
		c.serve(h, payload)
	}
	if c.isOver() {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

// admit waits until a request may be carried out. It returns false if the
// connection has ended.
func (c *connection) admit() bool {
	for {
		c.server.mu.Lock()
		over := c.ended || c.closed
		var resumed chan struct{}
		full := false
		if !over {
			resumed = c.domain.resumed
			full = !c.domain.privileged() && c.outstanding >= maxOutstanding
		}
		c.server.mu.Unlock()
		switch {
		case over:
			return false
		case resumed != nil:
			select {
			case <-resumed:
			case <-c.over:
			}
		case full:
			select {
			case <-c.writable:
			case <-c.over:
			}
		default:
			return true
		}
	}
}

// isOver reports whether the connection has ended.
func (c *connection) isOver() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// Close is the client's end of the connection.
func (c *connection) Close() error {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.closed = true
	c.end()
	return nil
}

// kill ends a connection that has broken the protocol.
func (c *connection) kill() {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.end()
}

// end ends the connection: its watches, transactions and unread messages go.
func (c *connection) end() {
	if c.ended {
		return
	}
	c.ended = true
	if c.domain != nil {
		c.reset()
	}
	c.out = nil
	c.server.connections = slices.DeleteFunc(c.server.connections, func(o *connection) bool { return o == c })
	close(c.over)
}

// reset drops all watches and transactions.
func (c *connection) reset() {
	c.domain.watches -= len(c.watches)
	c.domain.transactions -= len(c.transactions)
	c.watches = nil
	clear(c.transactions)
}

// disconnect ends all connections of d.
func (s *Server) disconnect(d *domain) {
	for _, c := range slices.Clone(s.connections) {
		if c.domain == d {
			c.end()
		}
	}
}

// resume moves the connection to domain to, and does what the kernel does after
// a resume.
func (c *connection) resume(to *domain) {
	for id := range c.transactions {
		c.stale[id] = true
	}
	watches := c.watches
	c.reset()
	c.domain = to
	c.watches = watches
	to.watches += len(watches)
	for _, w := range watches {
		w.absolute = c.absolute(w.path)
		c.sendEvent(w.path, w.token)
	}
}

// absolute is a path as the client wrote it, made absolute.
func (c *connection) absolute(path string) string {
	if path != "" && (path[0] == '/' || path[0] == '@') {
		return path
	}
	return c.domain.path() + "/" + path
}
