package manager

import (
	"context"
	"errors"
	"log/slog"

	"xvsock/link"
	"xvsock/vsock"
)

// Why a connection to port 1 is not the frontend's.
var (
	errSecond   = errors.New("a second connection to port 1")
	errNotFront = errors.New("not over the front link of a frontend")
	errNotRoot  = errors.New("not from a port below 1024, so not from the frontend's daemon")
)

// acceptPort1 takes the connection that each frontend opens to the manager when
// its link is up. The link's life is that connection's (design, section 6, "Port
// 1").
func (m *Manager) acceptPort1(ctx context.Context, l *vsock.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		conn := c.(*vsock.Conn)
		talk, front, err := m.hold(conn)
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
		m.tasks.Go(func() { talk.run(ctx) })
	}
}

// hold begins the conversation with a frontend over c, its connection to port 1. It
// returns the frontend's link with the error that there is one already.
func (m *Manager) hold(c *vsock.Conn) (*conversation, *link.Link, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frontends[c.Peer()]
	switch {
	case f == nil || f.detached || f.link == nil || f.link.Serial() != c.LinkSerial():
		return nil, nil, errNotFront
	case !c.Privileged():
		// Any program of the domain may have sent it: it costs the link nothing.
		return nil, nil, errNotRoot
	case f.talk != nil:
		return nil, f.link, errSecond
	}
	f.talk = newConversation(f, c)
	return f.talk, f.link, nil
}
