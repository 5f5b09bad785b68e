package port1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// messageTime is how long a message may take from its first byte to its last,
// and how long a write may wait for the other side to read (rule R6).
const messageTime = 5 * time.Second

// firstBuffer is what most messages fit into, in bytes: all but the longer PEER
// and HELLO.
const firstBuffer = 256

// Conn carries whole messages over the connection to port 1. One goroutine may
// read while another one writes. After an error of either the stream is out of
// step and of no more use. To stop a Read, close the connection: the deadlines are
// the Conn's.
type Conn struct {
	conn  net.Conn
	buf   []byte
	timed bool // a read deadline is set
}

// NewConn returns a Conn over c. c remains the caller's to close.
func NewConn(c net.Conn) *Conn {
	return &Conn{conn: c, buf: make([]byte, firstBuffer)}
}

// Read waits for a message and returns it whole, header included, in a buffer that
// the next Read uses again. It waits for the first byte for ever, and then
// messageTime for the rest, which it does not wait for at all if the header is
// wrong (rules R6, R11). The body is not looked at. The error is io.EOF if the
// connection was closed between two messages, and never within one; an *Error for
// a wrong header; and otherwise the connection's own, wrapped.
func (c *Conn) Read() (Header, []byte, error) {
	if c.timed {
		// If it fails the connection is closed, and reading says how.
		_ = c.conn.SetReadDeadline(time.Time{})
		c.timed = false
	}
	n, err := io.ReadAtLeast(c.conn, c.buf[:HeaderSize], 1)
	if errors.Is(err, io.EOF) {
		return Header{}, nil, io.EOF
	}
	if err != nil {
		return Header{}, nil, fmt.Errorf("read message: %w", err)
	}
	if err := c.rest(c.buf[n:HeaderSize]); err != nil {
		return Header{}, nil, fmt.Errorf("read header: %w", err)
	}
	h, err := ParseHeader(c.buf)
	if err != nil {
		return Header{}, nil, err
	}
	if int(h.Length) > len(c.buf) {
		c.buf = append(make([]byte, 0, h.Length), c.buf[:HeaderSize]...)[:h.Length]
	}
	if err := c.rest(c.buf[HeaderSize:h.Length]); err != nil {
		return Header{}, nil, fmt.Errorf("read %v: %w", h.Type, err)
	}
	return h, c.buf[:h.Length], nil
}

// rest fills b with what belongs to a message that has begun. The deadline that
// the first of these sets is the whole message's.
func (c *Conn) rest(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if !c.timed {
		if err := c.conn.SetReadDeadline(time.Now().Add(messageTime)); err != nil {
			return err
		}
		c.timed = true
	}
	_, err := io.ReadFull(c.conn, b)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Write writes one whole message, or what an Append made of several. It waits
// messageTime at most for the other side; the error then is one for which
// os.ErrDeadlineExceeded is found. msg is not kept.
func (c *Conn) Write(msg []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(messageTime)); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	if _, err := c.conn.Write(msg); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return nil
}
