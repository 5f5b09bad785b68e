package vsock

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"xvsock/mux"
	"xvsock/xen"
)

// Locals are the other programs of the domain: who takes connections to the ports
// that no Listener of the Stack has (design, section 5, "Ports"). The methods are
// called in a link's pump and must not wait.
type Locals interface {
	// Acceptor returns who may take a connection to port, or nil. What it returns is
	// called like mux.Acceptor.Offer; if it returns false, the Relay is next.
	Acceptor(port uint32) func(*Conn) bool
	// Relay returns the kernel's sockets as peer sees them, or nil if there are none.
	// For connections of the domain with itself, peer is the domain.
	Relay(peer xen.DomID) mux.Relay
}

// ErrNoLink says that there is no link to a domain, but may be one after Reach.
var ErrNoLink = errors.New("no link")

// Send is mux.Session.Send on the link to the domain that cid spells. It returns
// ErrNoLink for a REQUEST without a link, or with one that has just ended, and wraps
// EHOSTUNREACH or net.ErrClosed if there will be none. All other packets are of no
// connection then, as they are for mux.Session.Send.
//
// A connection of the domain with itself has both ends here, and r may be both of
// them: the end is told by the ports. No REQUEST goes to its own port that way, as
// its two ends would look alike.
func (s *Stack) Send(cid uint32, r mux.Relay, p mux.Packet, payload []byte) error {
	ses, accepting, err := s.relaysTo(cid, p.Op == mux.OpRequest)
	switch {
	case err != nil && p.Op == mux.OpReset:
		return nil
	case err != nil && p.Op != mux.OpRequest:
		return &mux.ResetError{}
	case errors.Is(err, errNoLink):
		return ErrNoLink
	case err != nil:
		return fmt.Errorf("relay to CID %d: %w", cid, err)
	case accepting != nil && p.Op == mux.OpRequest && p.Local == p.Remote:
		return &mux.ResetError{Reason: mux.ReasonRefused, Dial: true}
	case accepting != nil && accepting.Relays(r, p.Local, p.Remote):
		ses = accepting
	}
	if err = ses.Send(r, p, payload); p.Op == mux.OpRequest && unsent(err) {
		return ErrNoLink
	}
	return err
}

// Withdraw is mux.Session.Withdraw on the link to the domain that cid spells.
func (s *Stack) Withdraw(cid uint32, r mux.Relay) {
	ses, accepting, err := s.relaysTo(cid, false)
	if err != nil {
		return
	}
	ses.Withdraw(r)
	if accepting != nil {
		accepting.Withdraw(r)
	}
}

// Reach has a link made to addr's domain, for a connection to its port, as Dial does,
// and returns once there is one. Its errors are Dial's.
func (s *Stack) Reach(ctx context.Context, addr Addr) error {
	ctx, cancel := context.WithTimeoutCause(ctx, mux.DefaultDialTimeout, syscall.ETIMEDOUT)
	defer cancel()
	_, err := s.reach(ctx, addr)
	if err == nil {
		return nil
	}
	return connError(opDial, dialError(ctx, err), Addr{CID: uint32(s.Self())}, addr)
}

// relaysTo returns the session of the domain that cid spells, for a connection to be
// begun or for one that there is. For the domain itself that is the end of the loop that
// dials, and the one that accepts is returned too.
func (s *Stack) relaysTo(cid uint32, begin bool) (ses, accepting *session, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if begin {
		ses, err = s.session(cid)
	} else if ses = s.sessionOf(cid); ses == nil {
		err = errNoLink
	}
	if err != nil {
		return nil, nil, err
	}
	if s.loop != nil && ses == s.loop.dialing {
		accepting = s.loop.accepting
	}
	return ses, accepting, nil
}

// sessionOf returns the session that the connections with a domain are on, or nil. It
// may have ended, or the Stack be closing: as long as its Relays were not told, the answer
// to a packet must not be that there is no connection, which is RST and to a kernel's
// socket the end of the file. The caller holds mu.
func (s *Stack) sessionOf(cid uint32) *session {
	id, known := DomainOf(cid)
	switch {
	case s.isSelf(cid):
		if s.loop == nil {
			return nil
		}
		return s.loop.dialing
	case known:
		return s.sessions[id]
	case cid == CIDBackend:
		return s.backend
	}
	return nil
}

// localAcceptor hands the connections of one session to a program of the domain. It
// implements mux.Acceptor.
type localAcceptor struct {
	stack *Stack
	ses   *session
	offer func(*Conn) bool
}

// Offer implements mux.Acceptor.
func (a localAcceptor) Offer(c *mux.Conn) bool {
	return a.offer(newConn(c, a.ses, a.stack.Self()))
}
