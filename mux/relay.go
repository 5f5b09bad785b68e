package mux

import (
	"errors"
	"syscall"
)

// The operations of a Packet (VIRTIO_VSOCK_OP_* in uapi/linux/virtio_vsock.h).
const (
	OpRequest       = opRequest
	OpResponse      = opResponse
	OpReset         = opReset
	OpShutdown      = opShutdown
	OpData          = opData // VIRTIO_VSOCK_OP_RW
	OpCreditUpdate  = opCreditUpdate
	OpCreditRequest = opCreditRequest
)

// The types of a Packet (VIRTIO_VSOCK_TYPE_* there).
const (
	TypeStream    = typeStream
	TypeSeqpacket = typeSeqpacket
)

// maxRelayedCredit is the most of the other side's receive memory, in bytes, that a
// Relay hears of. A kernel keeps up to so much unacknowledged for a connection, and
// with SEQPACKET it is the longest message: a peer must not have a say in how much
// memory that is (rule R7). To hear of less than there is does no harm but to speed.
const maxRelayedCredit = 1 << 20

// Packet is a frame of a relayed connection as virtio_vsock_hdr has it, but for the
// CIDs: ports are as seen from this side.
type Packet struct {
	Local, Remote uint32
	Type, Op      uint16
	Flags         uint32 // of RST: the Reason
	BufAlloc      uint32 // receive memory of the sender's socket, in bytes
	FwdCnt        uint32 // bytes its program has taken, wraps
}

// Relay is the local end of connections that do not end in this process: the
// sockets of the domain's kernel, as one domain sees them. Relays are compared with
// ==. A Relay must not hold a lock that Reset or Lost takes while it calls a session.
type Relay interface {
	// Deliver takes a frame that the other side sent. What the frame says about
	// itself is true, and it fits the state of its connection; whether data keeps to the
	// credit, and data after SHUTDOWN, are the receiver's to judge. BufAlloc is 1 MiB at
	// most, and FwdCnt never more than was sent, so that with a peer that lies no more
	// than BufAlloc is unacknowledged. OpCreditRequest, which the local end answers, comes
	// once until that has sent a packet; a further one is an OpCreditUpdate. a and b are
	// the payload in the ring: each byte is read at most once, and none after Deliver
	// returns. It must not block: false says that there is no room now, and then the
	// frame stays in the ring, and all that follow it, until Session.Wake is called.
	// The pump calls it, without a lock: a call may be under way while the connection
	// is reset, or the Relay withdrawn.
	Deliver(from *Session, p Packet, a, b []byte) bool
	// Flush is called after Deliver has taken something, before the pump sleeps or gives
	// another Relay a frame: what was delivered need not be told to anybody before. The
	// pump calls it, without a lock.
	Flush()
	// Reset ends one connection, as RST of the other side would. Type, Op and the
	// ports of p are set, and the Reason in Flags. It is called for connections that
	// this side ends, and when the link ends for those that no data can come on.
	// Session.mu is held: it must not block and must not call the session.
	Reset(p Packet)
	// Lost says that the link has ended with connections of the relay on it, of which
	// no Reset was told. It is called once at most for a session. Session.mu is held,
	// as for Reset.
	Lost()
}

// Send puts a frame into the ring that the local end of a relayed connection has
// sent, in the order of the calls. One of REQUEST begins a connection, for which
// Config.Permit is asked. Send waits for its turn and for room with a frame of
// OpData, until the connection or the link ends, or Withdraw(r); all other frames
// wait by themselves. If the other side takes nothing meanwhile, the link ends with
// ErrSilent after Config.Silence. Payload is not used after Send has returned.
//
// The packets of one connection are sent one after the other; those of different ones
// may be by many goroutines.
//
// An error is a *ResetError: there is no such connection (any more), or it may not
// be; the sender is to be told by RST, unless it sent RST itself. A packet of a
// connection that ends, or has ended while it waited, is dropped without one: the Relay
// hears of the end by Deliver, Reset or Lost, and a second RST could hit the next
// connection with these ports. So are packets of an earlier connection that cross the
// next one's REQUEST, and a REQUEST on a tuple of r's own, see again.
func (s *Session) Send(r Relay, p Packet, payload []byte) error {
	if !sendable(p, len(payload)) {
		return s.discard(r, p, &ResetError{Reason: ReasonProtocol})
	}
	if p.Op == opRequest {
		return s.relayRequest(r, p)
	}
	s.mu.Lock()
	defer s.unlock()
	t := s.relayedTo(r, p)
	if t == nil {
		return s.noTuple(p)
	}
	return t.send(p, payload)
}

// Withdraw ends all connections of r, with RST to the other side and nothing to r.
func (s *Session) Withdraw(r Relay) {
	s.locked(func() {
		for _, o := range s.table.all() {
			if t, ok := o.owner.(*relayed); ok && t.relay == r {
				t.withdraw(ReasonNone)
			}
		}
		s.dropHeld(r)
	})
}

// Wake says that a Relay whose Deliver has returned false has room again.
func (s *Session) Wake() { s.t.Wake() }

// Relays says whether there is a connection of r with these ports.
func (s *Session) Relays(r Relay, local, remote uint32) bool {
	t, ok := s.table.get(tuple{local, remote}).(*relayed)
	return ok && t.relay == r
}

// sendable says whether the other side could take p for a frame: it ends the link
// for one that is none.
func sendable(p Packet, size int) bool {
	h := header{typ: p.Type, op: p.Op, flags: p.Flags, size: uint32(min(size, maxRing))}
	return h.check(maxRing, 0) == nil
}

// relayedTo returns the tuple of p if it is r's, or nil.
func (s *Session) relayedTo(r Relay, p Packet) *relayed {
	t, ok := s.table.get(tuple{p.Local, p.Remote}).(*relayed)
	if !ok || t.relay != r {
		return nil
	}
	return t
}

// noTuple is the answer to a packet of no tuple. The caller holds mu.
func (s *Session) noTuple(p Packet) error {
	switch {
	case p.Op == opReset:
		return nil
	case s.ended != nil:
		return s.ended
	}
	return &ResetError{}
}

// discard ends the connection of a packet that cannot be sent, if there is one, and
// returns err.
func (s *Session) discard(r Relay, p Packet, err *ResetError) error {
	s.locked(func() {
		if t := s.relayedTo(r, p); t != nil {
			t.withdraw(err.Reason)
		}
	})
	return err
}

// relayRequest begins a connection for r.
func (s *Session) relayRequest(r Relay, p Packet) error {
	k := tuple{p.Local, p.Remote}
	if !ValidPort(k.local) || !ValidPort(k.remote) {
		return &ResetError{Reason: ReasonRefused, Dial: true}
	}
	err := s.request(k, func(ps pass) error { return s.beginRelayed(r, p, k, ps) })
	var reset *ResetError
	switch {
	case err == nil, errors.Is(err, syscall.EADDRINUSE) && s.again(r, p):
		return nil
	case errors.As(err, &reset):
		return reset
	}
	return &ResetError{Reason: refusal(err), Dial: true}
}

// again takes a REQUEST on a tuple that r has already, and returns false if it is to
// be told that the tuple is taken. A program that connects again on the same socket,
// after a signal or a time-out of which its kernel tells nobody, asks what was asked.
// Any other connection with these ports is another socket's, which RST would hit
// instead: that REQUEST is dropped, and its program's connect times out.
func (s *Session) again(r Relay, p Packet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.relayedTo(r, p)
	switch {
	case t == nil, t.state >= resetting:
		return false
	case t.state != dialing, t.incoming:
		return true
	case t.typ != p.Type:
		return false
	}
	t.stamp(p)
	t.awaitAnswer()
	return true
}

// beginRelayed enters the tuple and sends REQUEST.
func (s *Session) beginRelayed(r Relay, p Packet, k tuple, ps pass) error {
	s.mu.Lock()
	defer s.unlock()
	if err := s.admissible(k, ps); err != nil {
		return err
	}
	t := newRelayed(s, r, k, p.Type, false)
	t.stamp(p)
	s.seat(k, t, ps, false)
	t.want(pendRequest)
	s.tx.drain()
	return nil
}
