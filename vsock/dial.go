package vsock

import (
	"context"
	"errors"
	"net"
	"syscall"

	"xvsock/xen"
)

// privileged ports are below 1024; the kernel gives those of AF_VSOCK only to
// CAP_NET_BIND_SERVICE, so a connection from one speaks for its domain's daemon
// (design, section 7).
const (
	firstPrivileged uint32 = 512
	lastPrivileged  uint32 = 1023
)

// maxSkips is how many ephemeral ports a Dial tries. One that is taken on this
// link is skipped, and a link has fewer connections than this.
const maxSkips = 1 << 12

// Dial connects to addr from a free ephemeral port. It is given up when ctx ends,
// and after mux.DefaultDialTimeout (rule R6).
//
// The error is a *net.OpError around EHOSTUNREACH (no link to that domain),
// ECONNREFUSED, EACCES, ETIMEDOUT, ENOBUFS (too many connections with that
// domain), context.Canceled, net.ErrClosed after Close, or what else the other
// side said; ECONNRESET if the link was lost meanwhile.
func (s *Stack) Dial(ctx context.Context, addr Addr) (*Conn, error) {
	return s.dial(ctx, addr, maxSkips, func() uint32 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.nextPort()
	})
}

// DialPrivileged connects to addr from a free port from 512 to 1023, and returns
// EADDRINUSE if there is none. Its other errors are Dial's.
func (s *Stack) DialPrivileged(ctx context.Context, addr Addr) (*Conn, error) {
	port := lastPrivileged + 1
	return s.dial(ctx, addr, int(lastPrivileged-firstPrivileged+1), func() uint32 {
		port--
		return port
	})
}

// dial tries the local ports that next gives until one is free.
func (s *Stack) dial(ctx context.Context, addr Addr, tries int, next func() uint32) (*Conn, error) {
	local := Addr{CID: uint32(s.cfg.Self)}
	ses, err := s.sessionTo(addr.CID)
	if err == nil {
		err = ctx.Err() // before anything is sent
	}
	for i := 0; err == nil || errors.Is(err, syscall.EADDRINUSE) && i < tries; i++ {
		local.Port = next()
		c, derr := ses.Dial(ctx, local.Port, addr.Port)
		if derr == nil {
			return newConn(c, ses, s.cfg.Self), nil
		}
		err = derr
	}
	return nil, connError(opDial, dialError(ctx, err), local, addr)
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
	if s.closed {
		return nil, net.ErrClosed
	}
	if cid == CIDSelf || cid == CIDBackend && s.cfg.Backend {
		return s.loopSession()
	}
	id, known := s.resolve(cid)
	if ses := s.sessions[id]; known && ses != nil && ses.link.Err() == nil {
		return ses, nil
	}
	if known && id == s.cfg.Self && cid != CIDBackend {
		return s.loopSession()
	}
	return nil, syscall.EHOSTUNREACH
}

// resolve turns the CID of another domain into its id. No CID that is not a
// domain's gets further than this: to the hypervisor CIDBackend is DOMID_IO. The
// caller holds mu.
func (s *Stack) resolve(cid uint32) (xen.DomID, bool) {
	if cid == CIDBackend {
		return s.backend, s.hasBackend
	}
	return domain(cid)
}
