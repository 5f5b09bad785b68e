package door

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"xvsock/services"
	"xvsock/splice"
	"xvsock/vsock"
	"xvsock/vsock/hybrid"
)

// connect joins a client to what it asks for.
func (c *client) connect(ctx context.Context, s *Server, stack Stack, r hybrid.Request) {
	conn, gone, err := c.dial(ctx, s, stack, r)
	switch {
	case err != nil && gone:
		return
	case err != nil:
		s.refuse(c, refusal(err))
		return
	case gone || c.say(hybrid.OK(conn.LocalAddr().(vsock.Addr).Port), nil) != nil:
		_ = conn.Reset() // nobody has heard of it
		return
	}
	s.join(ctx, conn, c.conn)
}

// dial dials for a client as long as that is there. What the client may have sent behind
// its line is left for the stream.
func (c *client) dial(ctx context.Context, s *Server, stack Stack, r hybrid.Request) (conn *vsock.Conn, gone bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hung := make(chan bool, 1)
	go func() {
		is := splice.AwaitHangUp(c.conn) == nil
		if is {
			cancel()
		}
		hung <- is
	}()
	conn, err = s.dial(ctx, stack, c, r)
	// If the client's connection is closed, that is found when OK is to be said.
	_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	gone = <-hung
	_ = c.conn.SetReadDeadline(time.Time{})
	return conn, gone, err
}

// dial connects to what a program may connect to. The Stack picks an ephemeral port:
// nothing that is for privileged ones alone can be reached.
func (s *Server) dial(ctx context.Context, stack Stack, c *client, r hybrid.Request) (*vsock.Conn, error) {
	resolving, cancel := context.WithTimeoutCause(ctx, resolveTime, syscall.ETIMEDOUT)
	defer cancel()
	addr, err := s.cfg.Resolve(resolving, r.Domain, r.Port)
	switch {
	case err != nil:
		return nil, err
	case addr.Port == vsock.PortManager:
		return nil, fmt.Errorf("port 1 is the connection manager's, not for programs: %w", syscall.EACCES)
	case s.cfg.Deny(addr.Port):
		return nil, fmt.Errorf("port %d is denied to this domain's programs by its configuration: %w", addr.Port, syscall.EACCES)
	}
	if no := s.deal(c, addr.CID, r.Domain); no != nil {
		return nil, no
	}
	conn, err := stack.Dial(ctx, addr)
	if errors.Is(err, syscall.ENOBUFS) {
		err = exhausted(r.Domain, err)
	}
	return conn, err
}

// exhausted says of what there is too little for another connection with a domain. That
// is here if the Stack has no more to say, else there, or by policy.
func exhausted(domain string, err error) *hybrid.Error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	if err == syscall.ENOBUFS {
		return crowded("no room for another connection with %.64q: as many are open as may be, or its receive memory is used up", domain)
	}
	return crowded("%.64q or the policy (conns=, rate=) has no room for another connection: %v", domain, err)
}

// join carries between a connection and a program until both are done with it.
func (s *Server) join(ctx context.Context, conn *vsock.Conn, program net.Conn) {
	p := splice.Pair{Near: conn, Far: program, Buffers: &s.buffers, Untaken: untakenTime}
	if err := p.Run(ctx); err != nil {
		s.cfg.Log.Debug("connection of a program lost", "peer", conn.RemoteAddr(), "error", err)
	}
}

// refusal is an error as a client is told. What a *net.OpError has around its cause the
// client knows.
func refusal(err error) *hybrid.Error {
	var no *hybrid.Error
	if errors.As(err, &no) {
		return no
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return hybrid.ErrorOf(err, syscall.ETIMEDOUT)
	case errors.Is(err, context.Canceled), errors.Is(err, net.ErrClosed):
		return errEnding
	case errors.Is(err, services.ErrPort), errors.Is(err, hybrid.ErrLine):
		return hybrid.ErrorOf(err, syscall.EINVAL)
	}
	return hybrid.ErrorOf(err, syscall.EHOSTUNREACH)
}
