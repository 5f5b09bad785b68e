package vsock

import (
	"context"
	"errors"

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
	Relay(peer xen.DomID) mux.Relay
}

// ErrNoLink says that there is no link to a domain, but may be one after Reach.
var ErrNoLink = errors.New("no link")

// Send is mux.Session.Send on the link to the domain that cid spells. Without a link it
// returns ErrNoLink.
func (s *Stack) Send(cid uint32, r mux.Relay, p mux.Packet, payload []byte) error { panic("not yet") }

// Withdraw is mux.Session.Withdraw on the link to the domain that cid spells.
func (s *Stack) Withdraw(cid uint32, r mux.Relay) { panic("not yet") }

// Reach has a link made to addr's domain, for a connection to its port, as Dial does,
// and returns once there is one. Its errors are Dial's.
func (s *Stack) Reach(ctx context.Context, addr Addr) error { panic("not yet") }
