package vsock

import (
	"context"
	"errors"
	"syscall"
	"time"

	"xvsock/link"
	"xvsock/xen"
)

// dialTimeout bounds a Dial whose context has no deadline (rule R6).
const dialTimeout = 10 * time.Second

// privileged ports are below 1024; the kernel gives those of AF_VSOCK only to
// CAP_NET_BIND_SERVICE, so a connection from one speaks for its domain's daemon
// (design, section 7).
const (
	firstPrivileged uint32 = 512
	lastPrivileged  uint32 = 1023
)

// Dial connects to addr from a free ephemeral port. The error is a *net.OpError
// around EHOSTUNREACH (no link to that domain), ECONNREFUSED, EACCES, ETIMEDOUT
// or what else the other end said.
func (s *Stack) Dial(ctx context.Context, addr Addr) (*Conn, error) {
	// A port that is taken on this link is skipped; a link has fewer
	// connections than this bound.
	return s.dial(ctx, addr, 1<<12, func() uint32 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.nextPort()
	})
}

// DialPrivileged connects to addr from a free port below 1024.
func (s *Stack) DialPrivileged(ctx context.Context, addr Addr) (*Conn, error) {
	port := lastPrivileged + 1
	return s.dial(ctx, addr, int(lastPrivileged-firstPrivileged+1), func() uint32 {
		port--
		return port
	})
}

// dial tries the local ports that next gives until one is free.
func (s *Stack) dial(ctx context.Context, addr Addr, tries int, next func() uint32) (*Conn, error) {
	ctx, cancel := withDefaultTimeout(ctx)
	defer cancel()
	local := Addr{CID: uint32(s.cfg.Self)}
	ses, err := s.sessionTo(addr.CID)
	if err != nil {
		return nil, opError(opDial, err, local, addr)
	}
	err = syscall.EADDRINUSE
	for range tries {
		local.Port = next()
		c, derr := ses.Dial(ctx, local.Port, addr.Port)
		if derr == nil {
			return newConn(c, s.cfg.Self, ses.link.Peer()), nil
		}
		if err = derr; !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, opError(opDial, err, local, addr)
}

// withDefaultTimeout gives ctx a deadline if it has none.
func withDefaultTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, dialTimeout)
}

// nextPort returns the next ephemeral port. The caller holds mu.
func (s *Stack) nextPort() uint32 {
	if s.lastPort >= lastEphemeral {
		s.lastPort = firstEphemeral
	} else {
		s.lastPort++
	}
	return s.lastPort
}

// sessionTo returns the session of the domain that cid spells. A domain without
// a link and one that does not exist look alike on purpose.
func (s *Stack) sessionTo(cid uint32) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := s.resolve(cid)
	if err != nil {
		return nil, err
	}
	if ses := s.sessions[id]; ses != nil {
		return ses, nil
	}
	if id == s.cfg.Self && !s.closed {
		return s.startLoop()
	}
	return nil, syscall.EHOSTUNREACH
}

// resolve turns a CID into the id of a domain. The caller holds mu.
func (s *Stack) resolve(cid uint32) (xen.DomID, error) {
	switch {
	case cid == CIDSelf, cid == CIDBackend && s.cfg.Backend:
		return s.cfg.Self, nil
	case cid == CIDBackend && s.hasBackend:
		return s.backend, nil
	case cid == CIDBackend:
		return 0, syscall.EHOSTUNREACH
	}
	id, ok := domain(cid)
	if !ok {
		return 0, syscall.EHOSTUNREACH
	}
	return id, nil
}

// startLoop makes the link of this domain to itself: connections are made at one
// end of it and accepted at the other. It lives until Close. The caller holds mu.
func (s *Stack) startLoop() (*session, error) {
	a, b, err := link.Loop(s.cfg.Self, link.Options{Log: s.cfg.Log})
	if err != nil {
		return nil, err
	}
	dialing, accepting := s.newSession(a), s.newSession(b)
	s.sessions[s.cfg.Self] = dialing
	for _, ses := range []*session{dialing, accepting} {
		s.loops.Go(func() {
			ses.Run()
			ses.link.Close()
		})
	}
	return dialing, nil
}
