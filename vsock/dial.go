package vsock

import (
	"context"
	"errors"
	"net"
	"syscall"

	"xvsock/mux"
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

// maxRetries is how often a Dial begins again because the link that it found
// ended before it was used.
const maxRetries = 2

var (
	// errNoLink says that a Broker may be asked for a link. It looks like any other
	// EHOSTUNREACH.
	errNoLink error = &errnoError{syscall.EHOSTUNREACH, syscall.EHOSTUNREACH}
	// errLostAtOnce is for a link that a Broker made and that is gone already.
	errLostAtOnce error = &mux.ResetError{Cause: errors.New("link lost before it was used"), Unsent: true}
)

// Dial connects to addr from a free ephemeral port. It is given up when ctx ends,
// and after mux.DefaultDialTimeout (rule R6).
//
// Without a link to the domain the Broker is asked for one; later connections go
// over the same.
//
// The error is a *net.OpError around EHOSTUNREACH (no such domain, no link to it,
// or no port there is allowed: they look alike on purpose), EACCES (another port
// is allowed, this one is not), ECONNREFUSED (nobody listens), ETIMEDOUT, ENOBUFS
// (too many connections), context.Canceled, net.ErrClosed after Close, or what
// else the other side said; ECONNRESET if the link was lost meanwhile.
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

// dial connects with the local ports that next gives. A session that ended before
// it carried anything of the connection costs a try, not the Dial.
func (s *Stack) dial(ctx context.Context, addr Addr, skips int, next func() uint32) (*Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, mux.DefaultDialTimeout, syscall.ETIMEDOUT)
	defer cancel()
	d := dialing{stack: s, addr: addr, local: Addr{CID: uint32(s.Self())}, skips: skips, next: next}
	for try := 0; ; try++ {
		err := ctx.Err() // before anything is sent
		if err == nil {
			var c *Conn
			if c, err = d.connect(ctx); err == nil {
				return c, nil
			}
		}
		if !unsent(err) || try == maxRetries {
			return nil, connError(opDial, dialError(ctx, err), d.local, addr)
		}
	}
}

// unsent reports that a session ended before it carried anything.
func unsent(err error) bool {
	var reset *mux.ResetError
	return errors.As(err, &reset) && reset.Unsent
}

// dialing is a Dial under way.
type dialing struct {
	stack *Stack
	addr  Addr
	local Addr          // with the port tried last
	skips int           // local ports that may be tried
	next  func() uint32 // the next of them
}

// connect connects over the session to the domain, from the first local port that
// is free.
func (d *dialing) connect(ctx context.Context) (*Conn, error) {
	ses, err := d.stack.reach(ctx, d.addr)
	if err != nil {
		return nil, err
	}
	err = syscall.EADDRINUSE
	for ; errors.Is(err, syscall.EADDRINUSE) && d.skips > 0; d.skips-- {
		d.local.Port = d.next()
		c, derr := ses.Dial(ctx, d.local.Port, d.addr.Port)
		if derr == nil {
			return newConn(c, ses, d.stack.Self()), nil
		}
		err = derr
	}
	return nil, err
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

// reach returns the session of addr's domain, and has the Broker make a link if
// there is none.
func (s *Stack) reach(ctx context.Context, addr Addr) (*session, error) {
	ses, err := s.sessionTo(addr.CID)
	if !errors.Is(err, errNoLink) || s.cfg.Broker == nil {
		return ses, err
	}
	id, _ := DomainOf(addr.CID)
	if err := s.broker(ctx, id, addr.Port); err != nil {
		return nil, err
	}
	if ses, err = s.sessionTo(addr.CID); errors.Is(err, errNoLink) {
		return nil, errLostAtOnce
	}
	return ses, err
}

// broker asks the Broker for a link, and does not wait any more when the Stack is
// closed.
func (s *Stack) broker(ctx context.Context, id xen.DomID, port uint32) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	err := s.cfg.Broker.Connect(ctx, id, port)
	switch {
	case s.closed():
		return net.ErrClosed
	case err != nil:
		return brokerError(err)
	}
	return nil
}

// sessionTo returns the session of the domain that cid spells. A domain without
// a link and one that does not exist look alike on purpose. No CID that is not a
// domain's gets further than this: to the hypervisor CIDBackend is DOMID_IO.
func (s *Stack) sessionTo(cid uint32) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session(cid)
}

// session is sessionTo for who holds mu.
func (s *Stack) session(cid uint32) (*session, error) {
	if s.closed() {
		return nil, net.ErrClosed
	}
	if s.isSelf(cid) {
		return s.loopSession()
	}
	var ses *session
	id, known := DomainOf(cid)
	switch {
	case known:
		ses = s.sessions[id]
	case cid == CIDBackend:
		ses = s.backend
	}
	switch {
	case ses != nil && ses.link.Err() == nil:
		return ses, nil
	case !known || ses != nil && ses.kind != ToPeer:
		return nil, syscall.EHOSTUNREACH
	}
	return nil, errNoLink
}

// isSelf reports whether cid spells this domain, which no other link leads to. The
// caller holds mu.
func (s *Stack) isSelf(cid uint32) bool {
	id, known := DomainOf(cid)
	return cid == CIDSelf || cid == CIDBackend && s.cfg.Backend ||
		known && id == s.Self() && (s.sessions[id] == nil || s.sessions[id].link.Err() != nil)
}
