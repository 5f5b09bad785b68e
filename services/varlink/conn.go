package varlink

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Limits bounds what a peer can cost. The zero value of a field stands for the
// default.
type Limits struct {
	// MessageSize is the largest message in bytes, without its end (64 KiB).
	MessageSize int
	// MessageTime is how long a message may take from its first byte to its
	// last (5 s).
	MessageTime time.Duration
	// WriteTime is how long the peer may take to accept a message (5 s).
	WriteTime time.Duration
	// Idle is how long a connection may lie without a call, started or
	// outstanding (60 s); for a client, how long a reply may take when the
	// context has no deadline.
	Idle time.Duration
	// Outstanding is how many calls a connection may have begun and not
	// answered, streams counted (32).
	Outstanding int
	// OutstandingBytes is how large those calls may be together (128 KiB).
	OutstandingBytes int
}

func (l Limits) withDefaults() Limits {
	l.MessageSize = cmp.Or(l.MessageSize, 64<<10)
	l.MessageTime = cmp.Or(l.MessageTime, 5*time.Second)
	l.WriteTime = cmp.Or(l.WriteTime, 5*time.Second)
	l.Idle = cmp.Or(l.Idle, time.Minute)
	l.Outstanding = cmp.Or(l.Outstanding, 32)
	l.OutstandingBytes = cmp.Or(l.OutstandingBytes, 128<<10)
	return l
}

const readBuffer = 4 << 10

// Conn is the framing alone: messages over a connection. One goroutine may
// receive while another sends.
type Conn struct {
	conn   net.Conn
	reader *bufio.Reader
	limits Limits
}

// NewConn returns the framing of a connection.
func NewConn(c net.Conn, l Limits) *Conn {
	return &Conn{conn: c, reader: bufio.NewReaderSize(c, readBuffer), limits: l.withDefaults()}
}

// Close closes the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Wait returns nil when a message has begun to arrive. It returns io.EOF at
// the end of the peer's sending, ErrTimeout at the deadline (zero: none).
func (c *Conn) Wait(deadline time.Time) error {
	if err := c.setReadDeadline(deadline); err != nil {
		return err
	}
	_, err := c.reader.Peek(1)
	return timeout(err)
}

// Receive returns the next message without its end, in memory of its own, and
// the byte that ended it. The error is ErrTooLarge, ErrTimeout, io.EOF, or
// io.ErrUnexpectedEOF for the end in the middle of a message; after one, the
// place in the stream is lost.
func (c *Conn) Receive() (message []byte, end byte, err error) {
	if err := c.setReadDeadline(time.Now().Add(c.limits.MessageTime)); err != nil {
		return nil, 0, err
	}
	for {
		if _, err := c.reader.Peek(1); err != nil {
			if err == io.EOF && len(message) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, 0, timeout(err)
		}
		piece, _ := c.reader.Peek(c.reader.Buffered())
		n := bytes.IndexAny(piece, "\n\x00")
		ended := n >= 0
		if ended {
			end, piece = piece[n], piece[:n]
		}
		if len(message)+len(piece) > c.limits.MessageSize {
			return nil, 0, ErrTooLarge
		}
		message = append(message, piece...)
		n = len(piece)
		if ended {
			n++
		}
		if _, err := c.reader.Discard(n); err != nil || ended {
			return message, end, err
		}
	}
}

// setReadDeadline sets the deadline. That a connection which is over takes none
// is no error here: its Read returns at once and says how it ended, and what
// has arrived before is not lost.
func (c *Conn) setReadDeadline(t time.Time) error {
	err := c.conn.SetReadDeadline(t)
	if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return fmt.Errorf("set deadline: %w", err)
}

// Send sends v as one message that ends with the given byte. The error is
// ErrTooLarge if it is over the size limit, and then nothing was sent;
// ErrTimeout if the peer does not take it, and then the place in the stream is
// lost.
func (c *Conn) Send(v any, end byte) error {
	data, err := encode(v)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if len(data) > c.limits.MessageSize {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(data))
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.limits.WriteTime)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	_, err = c.conn.Write(append(data, end))
	return timeout(err)
}

// encode is json.Marshal without its escapes for HTML, which would let a text
// grow sixfold.
func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func timeout(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return err
}
