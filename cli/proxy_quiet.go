package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"xvsock/splice"
)

// quiet is how long a connection through a proxy may carry nothing either way.
type quiet struct {
	idle   time.Duration // any connection; 0: for ever
	linger time.Duration // one that is stuck: a direction has ended, or a write waits
}

// check checks what a command line says.
func (q quiet) check() error {
	switch {
	case q.idle < 0:
		return fmt.Errorf("--idle %v: use a duration such as 90s or 1h, or 0 for no bound", q.idle)
	case q.linger <= 0:
		return fmt.Errorf("--linger %v: use a duration of more than 0, such as 90s or 1h", q.linger)
	}
	return nil
}

// untaken is splice.Pair.Untaken, of which as little as half may pass.
func (q quiet) untaken() time.Duration { return 2 * q.linger }

// quietWatch ends a pair of connections that carries nothing for too long:
//
//	 .--------- a write waits -------> stuck for now --.
//	 |                                   |             |
//	open <------------- written ---------'             |
//	 | |                                               |
//	 | '-- an end is read --> stuck for good --.       |
//	 |                                         |       |
//	 '--idle--> ended <----- linger, or idle --+-------'
//
// Clients may be gone without a word: a TCP client that has closed looks like one that
// has only ended its sending, as long as nothing is sent to it. What makes a pair stuck is
// noted as a move too, so that it is then given the whole of linger.
type quietWatch struct {
	limit quiet
	end   context.CancelCauseFunc
	began time.Time

	moved   atomic.Int64 // when something last was, in nanoseconds since began
	writing atomic.Int32 // writes that wait or are being made
	half    atomic.Bool  // an end was read
}

// newQuietWatch returns a watch of a pair, which end ends.
func newQuietWatch(limit quiet, end context.CancelCauseFunc) *quietWatch {
	return &quietWatch{limit: limit, end: end, began: time.Now()}
}

// run watches until ctx ends. It wakes once per linger, and not for what is carried.
func (w *quietWatch) run(ctx context.Context) {
	for {
		left, why := w.look()
		if why != nil {
			w.end(why)
			return
		}
		if !pause(ctx, left) {
			return
		}
	}
}

// look says why the pair is to be ended, or when to look again.
func (w *quietWatch) look() (time.Duration, error) {
	// In this order: what makes it stuck is noted after the move that it is.
	stuck := w.half.Load() || w.writing.Load() > 0
	still := time.Since(w.began) - time.Duration(w.moved.Load())
	left := w.limit.linger
	switch {
	case still < w.limit.linger:
		left -= still
	case stuck:
		return 0, fmt.Errorf("a direction has ended or is not taken, and nothing was carried for %v", w.limit.linger)
	}
	if w.limit.idle == 0 {
		return left, nil
	}
	if still >= w.limit.idle {
		return 0, fmt.Errorf("nothing was carried for %v", w.limit.idle)
	}
	return min(left, w.limit.idle-still), nil
}

// note notes that something has moved.
func (w *quietWatch) note() { w.moved.Store(int64(time.Since(w.began))) }

// conn is a connection of the pair, watched.
func (w *quietWatch) conn(c net.Conn) net.Conn { return &quietConn{Conn: c, watch: w} }

// quietConn tells a quietWatch what a connection carries. It has what package splice
// looks for in the connections that a proxy has; what the one inside has not, it refuses.
type quietConn struct {
	net.Conn
	watch *quietWatch
}

var _ syscall.Conn = (*quietConn)(nil)

// Read implements net.Conn.
func (c *quietConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	ended := errors.Is(err, io.EOF)
	if n > 0 || ended {
		c.watch.note()
	}
	if ended {
		c.watch.half.Store(true)
	}
	return n, err
}

// Write implements net.Conn.
func (c *quietConn) Write(p []byte) (int, error) {
	c.watch.writing.Add(1)
	defer c.watch.writing.Add(-1)
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.watch.note()
	}
	return n, err
}

// CloseRead ends the reading of a connection that can.
func (c *quietConn) CloseRead() error {
	if half, can := c.Conn.(interface{ CloseRead() error }); can {
		return half.CloseRead()
	}
	return errors.ErrUnsupported
}

// CloseWrite ends the writing of a connection that can.
func (c *quietConn) CloseWrite() error {
	if half, can := c.Conn.(interface{ CloseWrite() error }); can {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Reset ends the connection so that the other end sees a loss, where that can be said.
func (c *quietConn) Reset() error {
	splice.Cut(c.Conn)
	return nil
}

// SyscallConn implements syscall.Conn.
func (c *quietConn) SyscallConn() (syscall.RawConn, error) {
	if s, can := c.Conn.(syscall.Conn); can {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
