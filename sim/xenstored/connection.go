package xenstored

import (
	"bytes"
	"io"
	"slices"
	"time"

	"xvsock/xenstore"
)

const (
	// maxOutstanding is how many answers an unprivileged domain may leave unread
	// before its requests wait (quota_req_outstanding).
	maxOutstanding = 20
	// maxMemory is how many bytes an unprivileged domain may leave unread; events
	// beyond are lost (quota_memory_per_domain_hard).
	maxMemory = 5 << 19
	// eventTimeout is after what time an event that an unprivileged domain has not
	// read is lost (timeout_watch_event_msec).
	eventTimeout = 20 * time.Second
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

// message is a message to the client.
type message struct {
	data    []byte    // what is not yet read of it
	size    int       // of all of it
	event   string    // the payload of an event, else ""
	expires time.Time // zero if it does not
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

// take moves bytes of as many messages as there are into p.
func (c *connection) take(p []byte) (n int, err error) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	switch {
	case c.closed:
		return 0, io.ErrClosedPipe
	case c.ended:
		return 0, io.EOF
	}
	for n < len(p) && c.next() {
		m := &c.out[0]
		k := copy(p[n:], m.data)
		n, m.data = n+k, m.data[k:]
		m.expires = time.Time{} // half a message must be followed by the rest
		if len(m.data) == 0 {
			c.pop()
		}
	}
	if n > 0 {
		wake(c.writable)
	}
	return n, nil
}

// next drops events that have waited for too long and reports whether there is a
// message.
func (c *connection) next() bool {
	now := time.Now()
	for len(c.out) > 0 && !c.out[0].expires.IsZero() && now.After(c.out[0].expires) {
		c.pop()
	}
	return len(c.out) > 0
}

// pop takes the first message away.
func (c *connection) pop() {
	m := c.out[0]
	c.out[0] = message{}
	c.out = c.out[1:]
	c.memory -= m.size
	if m.event == "" {
		c.outstanding--
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

// reply sends an answer to the request that h was the header of. A nil payload
// is "OK".
func (c *connection) reply(h xenstore.Header, op xenstore.Op, payload []byte) {
	if payload == nil {
		payload = []byte("OK\x00")
	}
	if len(payload) > xenstore.MaxPayload {
		op, payload = xenstore.OpError, []byte("E2BIG\x00")
	}
	h.Op = op
	c.send(message{data: xenstore.AppendMessage(nil, h, payload)})
	c.outstanding++
}

// sendEvent sends an event, unless the same one is still unread or there is no
// room for it.
func (c *connection) sendEvent(path, token string) {
	payload := xenstore.AppendStrings(nil, path, token)
	if len(payload) > xenstore.MaxPayload {
		return
	}
	event := string(payload)
	if path[0] != '@' && slices.ContainsFunc(c.out, func(m message) bool { return m.event == event }) {
		return
	}
	m := message{
		data:  xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpWatchEvent}, payload),
		event: event,
	}
	if !c.domain.privileged() {
		if c.memory+len(m.data) > maxMemory {
			return
		}
		m.expires = time.Now().Add(eventTimeout)
	}
	c.send(m)
}

// send queues a message.
func (c *connection) send(m message) {
	m.size = len(m.data)
	c.out = append(c.out, m)
	c.memory += m.size
	wake(c.readable)
}
