package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"xvsock/link"
	"xvsock/manager/port1"
	"xvsock/vsock"
)

// How long Join tries to connect, and how often: whoever runs the connections of the
// front link may be about to begin only.
const (
	joinTimeout = 10 * time.Second
	joinAgain   = 10 * time.Millisecond
)

// Errors of a conversation.
var (
	errTwice = errors.New("there is a conversation with the manager already")
	errEnded = errors.New("the connection to port 1 has ended")
)

// Join holds the conversation with the manager over the front link front, whose
// connections stack runs. It calls joined, which does not wait, once the manager has
// told of every peer: from then on a Dial to another domain fails only if that is
// not to be reached. Join returns when the connection has ended, and with it front,
// or when ctx or the Client does. An error says that there was no conversation; front
// has ended then too.
//
// front ends BROKEN if the manager sends what it must not, or finds a bug of this
// side, else LOST. Every Join of a
// Client is given the same stack, one at a time.
func (c *Client) Join(ctx context.Context, stack *vsock.Stack, front *link.Link, joined func()) error {
	if err := c.enter(); err != nil {
		front.End(link.Lost, err)
		return err
	}
	defer c.exit()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	conn, err := dialManager(ctx, stack, front)
	if err != nil {
		err = fmt.Errorf("connect to the manager: %w", err)
		front.End(link.Lost, err)
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	c.converse(ctx, newTalk(c, stack, front, conn), joined)
	return nil
}

// enter begins a Join, which Close waits for. A second one at a time would make a
// second connection to port 1, which is a lie to the manager.
func (c *Client) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over != nil:
		return c.over
	case c.joining:
		return errTwice
	}
	c.joining = true
	c.tasks.Add(1)
	return nil
}

// exit is the end of a Join.
func (c *Client) exit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joining = false
	c.tasks.Done()
}

// converse holds a conversation from its first message to its end.
func (c *Client) converse(ctx context.Context, t *talk, joined func()) {
	c.open(t)
	t.writer.Go(func() { t.write(ctx) })
	err := t.read(joined)
	c.shut(t)
	if ctx.Err() == nil {
		t.front.End(causeOf(err), err)
	}
	t.stop()
}

// causeOf says how the front link ends because of what a conversation ended with.
func causeOf(err error) link.Cause {
	var malformed *port1.Error
	var misplaced *lieError
	if errors.As(err, &malformed) || errors.As(err, &misplaced) || errors.Is(err, errBug) {
		return link.Broken
	}
	return link.Lost
}

// open begins t: HELLO is its first message. A link to the domain that is our backend
// now would be a second one to the same domain.
func (c *Client) open(t *talk) {
	c.mu.Lock()
	c.talk, c.stack = t, t.stack
	t.hello = c.nextID()
	t.send(port1.Hello{ID: t.hello, Links: c.links()})
	t.timer = time.AfterFunc(answerTimeout, func() { t.front.End(link.Lost, errNoAnswer) })
	var gone []revoked
	if p := c.peers[t.front.Peer()]; p != nil && p.rec != nil {
		gone = append(gone, c.revoke(p, errReplaced))
	}
	for _, p := range c.peers {
		p.poke()
	}
	c.mu.Unlock()
	c.enforce(gone)
}

// shut ends what belongs to t. The records stay, and so do the links.
func (c *Client) shut(t *talk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.talk = nil
	t.timer.Stop()
	for id, r := range t.reqs {
		delete(t.reqs, id)
		c.answered(r, nil)
	}
	for _, p := range c.peers {
		p.owed, p.ind = nil, nil
		p.poke()
	}
}

// dialManager connects to the manager. Until the connections of the front link are
// run there is no way to it.
func dialManager(ctx context.Context, stack *vsock.Stack, front *link.Link) (*vsock.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	for {
		c, err := stack.DialPrivileged(ctx, vsock.Addr{CID: vsock.CIDBackend, Port: vsock.PortManager})
		if !errors.Is(err, syscall.EHOSTUNREACH) {
			return c, err
		}
		select {
		case <-time.After(joinAgain):
		case <-front.Done():
			return nil, front.Err()
		case <-ctx.Done():
			return nil, err
		}
	}
}

// ended is the end of a conversation in which nothing was wrong.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return errEnded
	}
	return fmt.Errorf("%w: %w", errEnded, err)
}
