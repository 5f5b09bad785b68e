package client

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"xvsock/link"
	"xvsock/manager/port1"
	"xvsock/vsock"
)

// maxQueued bounds, in bytes, the messages that the manager has not taken: a
// confirmation for each of maxRecords PEERs, and as much again.
const maxQueued = 256 << 10

// writePiece is how much is written at once: each piece has the time that port1.Conn
// gives a write.
const writePiece = 4 << 10

// talk is one conversation with the manager. Client.mu guards the fields from hello
// on.
type talk struct {
	c     *Client
	stack *vsock.Stack
	front *link.Link
	conn  *port1.Conn
	close func() error // of the connection

	writer sync.WaitGroup
	wake   chan struct{} // capacity 1: there is something to write
	over   chan struct{} // closed when nothing is written any more

	mu    sync.Mutex
	queue []byte // messages to be written; taken by swapping

	hello   uint64              // id of our first HELLO
	listed  bool                // the manager's has come
	timer   *time.Timer         // until then
	reqs    map[uint64]*request // not answered yet, by id
	telling bool                // a HELLO will be due
	due     bool                // it is
}

func newTalk(c *Client, stack *vsock.Stack, front *link.Link, conn *vsock.Conn) *talk {
	return &talk{
		c: c, stack: stack, front: front, conn: port1.NewConn(conn), close: conn.Close,
		wake: make(chan struct{}, 1), over: make(chan struct{}), reqs: make(map[uint64]*request),
	}
}

// message is any of package port1's.
type message interface{ Append([]byte) []byte }

// send has a message written. It never waits: a manager that does not read loses the
// front link, when the queue is full or when its time to read is up.
func (t *talk) send(m message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) > maxQueued {
		t.front.End(link.Lost, errors.New("the manager does not read"))
		return
	}
	t.queue = m.Append(t.queue)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// write writes what send queues, until the talk is over.
func (t *talk) write(ctx context.Context) {
	var spare []byte
	for {
		select {
		case <-t.wake:
		case <-t.over:
			return
		}
		t.mu.Lock()
		out := t.queue
		t.queue = spare[:0]
		t.mu.Unlock()
		for rest := out; len(rest) > 0; {
			n := min(len(rest), writePiece)
			if err := t.conn.Write(rest[:n]); err != nil {
				if ctx.Err() == nil {
					t.front.End(link.Lost, err)
				}
				t.close() // for read
				return
			}
			rest = rest[n:]
		}
		spare = out
	}
}

// stop ends the writer. A write under way ends with the connection.
func (t *talk) stop() {
	close(t.over)
	t.close()
	t.writer.Wait()
}

// lieError says that the manager sent what it must not (rule R10).
type lieError struct {
	what port1.Type
	why  string
}

// Error implements error.
func (e *lieError) Error() string { return fmt.Sprintf("the manager sent %v: %s", e.what, e.why) }

// read takes what the manager sends until the connection ends or something is wrong
// with it, and returns why.
//
// A panic is a bug of ours. It ends this front link, and not the process, which may
// be PID 1 (rule R16).
func (t *talk) read(joined func()) (err error) {
	defer func() {
		if bug := recover(); bug != nil {
			err = fmt.Errorf("%w: %v", errBug, bug)
			t.c.log.Error("conversation with the manager ended by a bug", "bug", bug, "stack", string(debug.Stack()))
		}
	}()
	for {
		h, b, err := t.conn.Read()
		var malformed *port1.Error
		if errors.As(err, &malformed) {
			return err
		}
		if err != nil {
			return ended(err)
		}
		if err := t.take(h, b, joined); err != nil {
			return err
		}
	}
}

// take does what one message asks for. Whose it is was decided by the link that it
// came over (rule R8).
func (t *talk) take(h port1.Header, b []byte, joined func()) error {
	switch h.Type {
	case port1.TypePeer:
		m, err := port1.ParsePeer(b)
		if err != nil {
			return err
		}
		return t.c.told(t, m)
	case port1.TypeHello:
		m, err := port1.ParseHello(b)
		if err != nil {
			return err
		}
		if err := t.c.listed(t, m); err != nil {
			return err
		}
		joined()
		return nil
	case port1.TypeConnectInd:
		m, err := port1.ParseConnectInd(b)
		if err != nil {
			return err
		}
		t.c.indicated(t, m)
		return nil
	case port1.TypeConnectRsp:
		m, err := port1.ParseConnectRsp(b)
		if err != nil {
			return err
		}
		return t.c.responded(t, m)
	}
	return &lieError{h.Type, "only a frontend does"}
}
