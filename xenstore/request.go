package xenstore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
)

// request is one request on its way:
//
//	waits for a slot -> queued -> written -> answered
//	                       |         |
//	                       +---------+--> abandoned: its context ended. Not
//	                                      written if still queued. The slot
//	                                      is free again with the late answer.
type request struct {
	op      Op
	tx      uint32
	payload []byte
	// undo, if not nil, is called when the request was abandoned and then
	// succeeded, with its answer. It must not block.
	undo func(answer []byte)

	id     uint32
	answer chan answer // has room for the one answer

	abandoned bool // guarded by Client.mu
}

// answer is what became of a request.
type answer struct {
	payload []byte
	err     error
}

// call sends r and returns the payload of the answer. The error is not yet
// wrapped in an Error.
func (c *Client) call(ctx context.Context, r *request) ([]byte, error) {
	if len(r.payload) > c.maxPayload {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLong, len(r.payload))
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.done:
		return nil, c.Err()
	}
	if err := c.enter(r); err != nil {
		return nil, err
	}
	c.queue <- r // has room: r holds a slot
	select {
	case a := <-r.answer:
		return a.payload, a.err
	case <-ctx.Done():
		return c.abandon(ctx, r)
	}
}

// detached sends r and returns when it is answered or ctx ends; r goes on
// regardless. It is for requests that undo an earlier one.
func (c *Client) detached(ctx context.Context, r *request) error {
	answered := make(chan error, 1)
	if !c.spawn(func() {
		_, err := c.call(context.WithoutCancel(ctx), r)
		answered <- err
	}) {
		return c.Err()
	}
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter gives r its id.
func (c *Client) enter(r *request) error {
	r.answer = make(chan answer, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	for c.lastID++; c.lastID == 0 || c.pending[c.lastID] != nil; c.lastID++ {
	}
	r.id = c.lastID
	c.pending[r.id] = r
	return nil
}

// abandon gives r up, unless its answer has just come.
func (c *Client) abandon(ctx context.Context, r *request) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case a := <-r.answer:
		return a.payload, a.err
	default:
		r.abandoned = true
		return nil, ctx.Err()
	}
}

// settle takes the request with this id from those under way and gives it its
// answer. It returns false if there is none.
func (c *Client) settle(id uint32, a answer) bool {
	c.mu.Lock()
	r := c.pending[id]
	if r == nil {
		c.mu.Unlock()
		return false
	}
	delete(c.pending, id)
	abandoned := r.abandoned
	r.answer <- a
	c.mu.Unlock()
	<-c.slots
	if abandoned && a.err == nil && r.undo != nil {
		r.undo(a.payload)
	}
	return true
}

// writeRequests is the writer goroutine.
func (c *Client) writeRequests() {
	defer c.closeConn() // ends the reader too
	message := make([]byte, 0, HeaderSize+MaxPayload)
	for {
		var r *request
		select {
		case r = <-c.queue:
		case <-c.done:
			return
		}
		if c.isAbandoned(r) {
			c.settle(r.id, answer{err: context.Canceled})
			continue
		}
		message = AppendMessage(message[:0], Header{Op: r.op, RequestID: r.id, TransactionID: r.tx}, r.payload)
		n, err := c.conn.Write(message)
		if err == nil {
			continue
		}
		// The driver refuses a WATCH over quota, say, by the errno of the write,
		// and has then consumed the message.
		var errno syscall.Errno
		if c.device && n == 0 && errors.As(err, &errno) {
			c.settle(r.id, answer{err: errno})
			continue
		}
		c.fail(fmt.Errorf("%w: %w", ErrLost, err))
		return
	}
}

// isAbandoned reports whether nobody waits for r any more.
func (c *Client) isAbandoned(r *request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.abandoned
}

// readMessages is the reader goroutine.
func (c *Client) readMessages() {
	defer c.closeConn() // ends the writer too, should it be in a write
	r := bufio.NewReaderSize(c.conn, 2*(HeaderSize+MaxPayload))
	buffer := make([]byte, HeaderSize+MaxPayload)
	for {
		h, payload, err := readMessage(r, buffer)
		if err == nil {
			err = c.dispatch(h, payload)
		}
		if err != nil {
			c.fail(fmt.Errorf("%w: %w", ErrLost, err))
			return
		}
	}
}

// readMessage reads one message into buffer, of which payload is a part.
func readMessage(r io.Reader, buffer []byte) (h Header, payload []byte, err error) {
	if _, err := io.ReadFull(r, buffer[:HeaderSize]); err != nil {
		return h, nil, err
	}
	if h, err = ParseHeader(buffer); err != nil {
		return h, nil, err
	}
	payload = buffer[HeaderSize:][:h.Length]
	if _, err := io.ReadFull(r, payload); err != nil {
		return h, nil, err
	}
	return h, payload, nil
}

// dispatch handles a message. An error says that what xenstored sends cannot be
// made sense of any more.
func (c *Client) dispatch(h Header, payload []byte) error {
	// The type decides first: the driver of /dev/xen/xenbus leaves the ids of
	// an event's header uninitialised.
	if h.Op == OpWatchEvent {
		return c.event(payload)
	}
	a := answer{payload: bytes.Clone(payload)}
	if h.Op == OpError {
		a = answer{err: ParseErrno(trimNUL(payload))}
	} else if op, ok := c.opOf(h.RequestID); ok && op != h.Op {
		return fmt.Errorf("%w: %v answered as %v", ErrProtocol, op, h.Op)
	}
	if !c.settle(h.RequestID, a) {
		c.dropped.Add(1)
	}
	return nil
}

// opOf is the type of the request with this id, if there is one.
func (c *Client) opOf(id uint32) (Op, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.pending[id]
	if !ok {
		return 0, false
	}
	return r.op, true
}
