package mux

// Packet is a frame of a relayed connection as virtio_vsock_hdr has it, but for the
// CIDs: ports are as seen from this side.
type Packet struct {
	Local, Remote uint32
	Type, Op      uint16
	Flags         uint32
	BufAlloc      uint32 // receive memory of the sender's socket, in bytes
	FwdCnt        uint32 // bytes its program has taken, wraps
}

// Relay is the local end of connections that do not end in this process: the
// sockets of the domain's kernel, as one domain sees them.
type Relay interface {
	// Deliver takes a frame that the other side sent, after all checks. a and b are the
	// payload in the ring: each byte is read at most once, and none after Deliver
	// returns. It must not block: false says that there is no room now, and then the
	// frame stays in the ring, and all that follow it, until Session.Wake is called.
	// The pump calls it, without a lock.
	Deliver(from *Session, p Packet, a, b []byte) bool
	// Reset ends one connection, as RST of the other side would. Type and the ports of p
	// are set. Session.mu is held: it must not block and must not call the session.
	Reset(p Packet)
	// Lost says that the link has ended with connections of the relay on it, of which
	// no Reset was told. Session.mu is held, as for Reset.
	Lost()
}

// Send puts a frame into the ring that the local end of a relayed connection has
// sent, in the order of the calls. One of REQUEST begins a connection. Send waits for
// room for a frame with payload, until the link ends or Withdraw(r); frames without
// wait by themselves.
//
// An error is a *ResetError: there is no such connection (any more), or it may not
// be; the sender is to be told by RST, unless it sent RST itself.
func (s *Session) Send(r Relay, p Packet, payload []byte) error { panic("not yet") }

// Withdraw ends all connections of r, with RST to the other side and nothing to r.
func (s *Session) Withdraw(r Relay) { panic("not yet") }

// Wake says that a Relay whose Deliver has returned false has room again.
func (s *Session) Wake() { panic("not yet") }
