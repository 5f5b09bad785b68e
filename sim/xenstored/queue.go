package xenstored

import (
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

// message is a message to the client.
type message struct {
	data    []byte    // what is not yet read of it
	size    int       // of all of it
	event   string    // the payload of an event, else ""
	expires time.Time // zero if it does not
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
