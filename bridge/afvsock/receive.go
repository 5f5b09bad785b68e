package afvsock

import (
	"errors"
	"fmt"

	"xvsock/mux"
	"xvsock/services"
	"xvsock/vsock"
)

// receive passes on what the kernel sends. It waits for the kernel, and for room in the
// ring of the link; never for what goes to the kernel. drain follows it.
func (i *instance) receive() {
	for {
		h, payload, err := i.dev.Receive()
		if i.ctx.Err() != nil {
			return
		}
		if err != nil {
			i.fail(fmt.Errorf("receive from the kernel: %w", err))
			return
		}
		i.packet(fromKernel(h), payload)
	}
}

// drain receives until the error that says that nothing more comes, whatever receive has
// ended by: a device keeps its memory as long as somebody might read a payload there.
func (i *instance) drain() {
	for {
		if _, _, err := i.dev.Receive(); err != nil {
			return
		}
	}
}

// packet passes one packet on.
func (i *instance) packet(p mux.Packet, payload []byte) {
	if !check(&p, len(payload)) {
		i.tally.dropped.Add(1)
		if p.Op == mux.OpRequest && validType(p.Type) {
			i.refuse(p) // of no port; its program would wait
		}
		return
	}
	if i.late.count.Load() > 0 {
		i.forget(p) // whatever follows a REQUEST takes its place
	}
	if p.Op == mux.OpRequest && !i.mayConnect(p) {
		i.refuse(p)
		return
	}
	err := i.stack.Send(i.peer.CID, i, p, payload)
	switch {
	case err == nil:
		i.tally.sent(p, len(payload))
	case p.Op == mux.OpReset:
	case p.Op == mux.OpRequest && errors.Is(err, vsock.ErrNoLink):
		i.postpone(p)
	default:
		i.refuse(p)
	}
}

// mayConnect applies the rules of this domain for its own programs. What other
// domains allow is the Stack's to ask. Nobody but its daemon speaks for the domain
// on port 1, and on port 4 only who has the privilege.
func (i *instance) mayConnect(p mux.Packet) bool {
	switch {
	case p.Remote == vsock.PortManager, i.deny(p.Remote):
		return false
	case p.Remote == services.PortControl:
		return p.Local < services.PortPrivileged
	default:
		return true
	}
}

// refuse answers a packet of the kernel with RST.
func (i *instance) refuse(p mux.Packet) {
	if p.Op == mux.OpRequest {
		i.tally.refused.Add(1)
	}
	i.reset(p)
}
