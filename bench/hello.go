package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Bounds of what one connection may ask for.
const (
	// MaxSize is the largest message, in bytes.
	MaxSize = 1 << 20

	maxSeconds = 1000
)

// kind is what a connection is for.
type kind byte

const (
	kindEcho kind = iota + 1
	kindSink
	kindSource
)

// helloSize is the length of a hello on the wire.
const helloSize = 16

const magic = "xvb1"

// What the server answers a hello with.
const (
	answerYes byte = iota
	answerFull
)

var (
	errHello = errors.New("not a hello")
	// ErrNotBench says that something else than a Server answers there.
	ErrNotBench = errors.New("no bench service answers there")
	// ErrFull says that the server has no memory left for one more connection.
	ErrFull = errors.New("the bench service has no memory left for so many connections of that size")
)

// hello is what a connection begins with.
type hello struct {
	kind kind
	size int
	time time.Duration // at least as long as the connection lasts
}

// marshal returns the hello as it stands on the wire.
func (h hello) marshal() []byte {
	b := make([]byte, helloSize)
	copy(b, magic)
	b[4] = byte(h.kind)
	binary.LittleEndian.PutUint32(b[8:], uint32(h.size))
	binary.LittleEndian.PutUint32(b[12:], uint32((h.time+time.Second-1)/time.Second))
	return b
}

// parseHello reads a stranger's hello of helloSize bytes.
func parseHello(b []byte) (hello, error) {
	size, seconds := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	h := hello{kind: kind(b[4]), size: int(size), time: time.Duration(seconds) * time.Second}
	switch {
	case string(b[:4]) != magic, b[5]|b[6]|b[7] != 0:
		return hello{}, errHello
	case h.kind < kindEcho || h.kind > kindSource:
		return hello{}, fmt.Errorf("%w: kind %d", errHello, h.kind)
	case size < 1 || size > MaxSize:
		return hello{}, fmt.Errorf("%w: messages of %d bytes", errHello, size)
	case seconds < 1 || seconds > maxSeconds:
		return hello{}, fmt.Errorf("%w: %d seconds", errHello, seconds)
	}
	return h, nil
}

// say begins a connection on the client's side. The error wraps ErrNotBench or ErrFull.
func (h hello) say(c net.Conn) error {
	if _, err := c.Write(h.marshal()); err != nil {
		return fmt.Errorf("%w: %w", ErrNotBench, err)
	}
	var answer [1]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return fmt.Errorf("%w: %w", ErrNotBench, err)
	}
	switch answer[0] {
	case answerYes:
		return nil
	case answerFull:
		return ErrFull
	}
	return fmt.Errorf("%w: it says %#x", ErrNotBench, answer[0])
}

// tally is what a sink has counted.
type tally struct {
	bytes uint64
	took  time.Duration // from the first byte to the end of the stream
}

const tallySize = 16

// marshal returns the tally as it stands on the wire.
func (t tally) marshal() []byte {
	b := make([]byte, tallySize)
	binary.LittleEndian.PutUint64(b, t.bytes)
	binary.LittleEndian.PutUint64(b[8:], uint64(t.took))
	return b
}

// parseTally reads a tally of tallySize bytes.
func parseTally(b []byte) tally {
	return tally{binary.LittleEndian.Uint64(b), time.Duration(binary.LittleEndian.Uint64(b[8:]))}
}
