package bench

import (
	"errors"
	"io"
	"net"
	"time"
)

// A sink's buffer is no smaller and no larger than this: many small messages are
// taken at once, as any reader behind a buffer does.
const (
	minSink = 4 << 10
	maxSink = 64 << 10
)

// buffer is how many bytes the server keeps for a connection.
func (h hello) buffer() int {
	if h.kind == kindSink {
		return sinkSize(h.size)
	}
	return h.size
}

// sinkSize is how large a buffer messages of that size are read into.
func sinkSize(size int) int { return min(max(size, minSink), maxSink) }

// serve does what the connection is for, with h.buffer bytes of memory, until it
// ends.
func (h hello) serve(conn net.Conn, buffer []byte) {
	switch h.kind {
	case kindEcho:
		echo(conn, buffer)
	case kindSink:
		if t, err := count(conn, buffer); err == nil {
			conn.Write(t.marshal())
		}
	case kindSource:
		for {
			if _, err := conn.Write(buffer); err != nil {
				return
			}
		}
	}
}

// echo sends back each message that fills the buffer.
func echo(conn net.Conn, message []byte) {
	for {
		if _, err := io.ReadFull(conn, message); err != nil {
			return
		}
		if _, err := conn.Write(message); err != nil {
			return
		}
	}
}

// count reads until the end of the stream.
func count(conn net.Conn, buffer []byte) (tally, error) {
	var t tally
	n, err := conn.Read(buffer)
	begin := time.Now()
	for ; err == nil; n, err = conn.Read(buffer) {
		t.bytes += uint64(n)
	}
	if !errors.Is(err, io.EOF) {
		return tally{}, err
	}
	t.bytes += uint64(n)
	t.took = time.Since(begin)
	return t, nil
}
