package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// kind is what is done with the messages of an exchange.
type kind byte

const (
	echo kind = 'e' // each is sent back before the next one is sent
	sink kind = 's' // all are read; one byte comes back after the last
)

// orderSize is the length of an order: kind, message size, number of messages.
const orderSize = 1 + 4 + 8

// order is how the client says what comes.
type order struct {
	kind  kind
	size  uint32 // of a message, bytes
	count uint64 // of messages
}

// append writes the order in the form that readOrder takes.
func (o order) append(b []byte) []byte {
	b = append(b, byte(o.kind))
	b = binary.BigEndian.AppendUint32(b, o.size)
	return binary.BigEndian.AppendUint64(b, o.count)
}

// client is the end of a connection that gives orders. Between two of them nothing
// is under way, so a connection serves for a whole measurement.
type client struct {
	conn net.Conn
	buf  []byte // sized for the order at hand
}

// begin sends an order.
func (c *client) begin(k kind, size int, count uint64) error {
	if cap(c.buf) < size {
		c.buf = make([]byte, size)
	}
	c.buf = c.buf[:size]
	var b [orderSize]byte
	_, err := c.conn.Write(order{k, uint32(size), count}.append(b[:0]))
	return err
}

// trip sends a message of an echo and waits for it to come back.
func (c *client) trip() error {
	if _, err := c.conn.Write(c.buf); err != nil {
		return err
	}
	_, err := io.ReadFull(c.conn, c.buf)
	return err
}

// send sends a message of a sink.
func (c *client) send() error {
	_, err := c.conn.Write(c.buf)
	return err
}

// finish waits until the last message of a sink was read.
func (c *client) finish() error {
	var done [1]byte
	_, err := io.ReadFull(c.conn, done[:])
	return err
}

// serve carries out the orders that come on conn until it ends.
func serve(conn net.Conn) error {
	defer conn.Close()
	buf := make([]byte, 64<<10)
	var head [orderSize]byte
	for {
		if _, err := io.ReadFull(conn, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read an order: %w", err)
		}
		o := order{kind(head[0]), binary.BigEndian.Uint32(head[1:]), binary.BigEndian.Uint64(head[5:])}
		if err := o.carryOut(conn, buf); err != nil {
			return err
		}
	}
}

// carryOut is the server's part of an order. buf holds any message.
func (o order) carryOut(conn net.Conn, buf []byte) error {
	if o.kind == echo {
		for range o.count {
			if _, err := io.ReadFull(conn, buf[:o.size]); err != nil {
				return fmt.Errorf("read a message: %w", err)
			}
			if _, err := conn.Write(buf[:o.size]); err != nil {
				return fmt.Errorf("send a message back: %w", err)
			}
		}
		return nil
	}
	for left := o.count * uint64(o.size); left > 0; {
		n, err := conn.Read(buf[:min(left, uint64(len(buf)))])
		if err != nil {
			return fmt.Errorf("read a stream: %w", err)
		}
		left -= uint64(n)
	}
	_, err := conn.Write(buf[:1])
	return err
}
