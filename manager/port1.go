package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"xvsock/link"
	"xvsock/vsock"
)

// Errors that end a front link because of what happens on its port 1.
var (
	errSecond   = errors.New("a second connection to port 1")
	errEnded    = errors.New("the connection to port 1 has ended")
	errMessage  = errors.New("a message on port 1 that this version does not know")
	errNotFront = errors.New("not over the front link of a frontend")
	errNotRoot  = errors.New("not from a port below 1024, so not from the frontend's daemon")
)

// acceptPort1 takes the connection that each frontend opens to the manager when
// its link is up. It carries nothing yet; its life is the front link's (design,
// section 6, "Port 1").
func (m *Manager) acceptPort1(ctx context.Context, l *vsock.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		conn := c.(*vsock.Conn)
		front, err := m.hold(conn)
		if err != nil {
			// One line for the connection that breaks the link; those queued behind
			// it could fill the log (rule R5).
			level := slog.LevelDebug
			if front != nil && front.Err() == nil {
				level = slog.LevelWarn
				front.End(link.Broken, err)
			}
			m.log.Log(ctx, level, "port 1", "domain", conn.Peer(), "error", err)
			conn.Close()
			continue
		}
		m.tasks.Go(func() { watchPort1(ctx, conn, front) })
	}
}

// hold notes c as the connection of its frontend to port 1, and returns the
// frontend's link, also with the error that there is a connection already.
func (m *Manager) hold(c *vsock.Conn) (*link.Link, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frontends[c.Peer()]
	switch {
	case f == nil || f.link == nil || f.link.Serial() != c.LinkSerial():
		return nil, errNotFront
	case !c.Privileged():
		// Any program of the domain may have sent it: it costs the link nothing.
		return nil, errNotRoot
	case f.port1 != nil:
		return f.link, errSecond
	}
	f.port1 = c
	return f.link, nil
}

// watchPort1 ends the front link with the connection to port 1, at either side,
// and at the first byte that comes on it. It returns when the connection has
// ended; ctx ends it.
func watchPort1(ctx context.Context, c *vsock.Conn, front *link.Link) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	defer c.Close()
	n, err := c.Read(make([]byte, 1))
	switch {
	case n > 0:
		front.End(link.Broken, errMessage)
	case ctx.Err() == nil:
		front.End(link.Lost, fmt.Errorf("%w: %w", errEnded, err))
	}
}

// Join is the frontend's side of port 1: it opens the connection to the manager
// over the front link l, calls joined, and returns when the connection has ended,
// and with it l, or when ctx ends. An error says that there was no connection; l
// has ended then too.
func Join(ctx context.Context, stack *vsock.Stack, l *link.Link, joined func()) error {
	c, err := dialManager(ctx, stack, l)
	if err != nil {
		err = fmt.Errorf("connect to the manager: %w", err)
		l.End(link.Lost, err)
		return err
	}
	joined()
	watchPort1(ctx, c, l)
	return nil
}

// How long Join tries, and how often: whoever runs the connections of l may be
// about to begin only.
const (
	joinTimeout = 10 * time.Second
	joinAgain   = 10 * time.Millisecond
)

// dialManager connects to the manager. Until l's connections are run there is no
// way to it.
func dialManager(ctx context.Context, stack *vsock.Stack, l *link.Link) (*vsock.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	for {
		c, err := stack.DialPrivileged(ctx, vsock.Addr{CID: vsock.CIDBackend, Port: vsock.PortManager})
		if !errors.Is(err, syscall.EHOSTUNREACH) {
			return c, err
		}
		select {
		case <-time.After(joinAgain):
		case <-l.Done():
			return nil, l.Err()
		case <-ctx.Done():
			return nil, err
		}
	}
}
