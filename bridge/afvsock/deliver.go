package afvsock

import (
	"time"

	"xvsock/mux"
)

// session is what an instance needs of the mux.Session that delivers to it.
type session interface {
	Wake()
	Withdraw(r mux.Relay)
}

// Deliver implements mux.Relay.
func (i *instance) Deliver(from *mux.Session, p mux.Packet, a, b []byte) bool {
	return i.deliver(from, p, a, b)
}

// Flush implements mux.Relay.
func (i *instance) Flush() { i.queue.tell() }

// deliver gives the kernel a packet of another domain. If the instance has failed, or is
// closing, nobody may begin or go on with a connection: those that are open end with it,
// as lost, and none before as if its program had closed it.
func (i *instance) deliver(from session, p mux.Packet, a, b []byte) bool {
	n := len(a) + len(b)
	if !check(&p, n) {
		i.tally.dropped.Add(1)
		return true
	}
	if p.Op == mux.OpReset && mux.Reason(p.Flags) == mux.ReasonShuttingDown {
		i.fail(errLeaves) // see Reset
	}
	if i.failure() != nil {
		from.Withdraw(i)
		return true
	}
	switch i.queue.send(from, toKernel(&p), a, b) {
	case noRoom:
		return false
	case crowded:
		i.fail(errCrowd)
		from.Withdraw(i)
		return true
	case closed:
		from.Withdraw(i)
		return true
	}
	i.tally.received(p, n)
	return true
}

// reset gives the kernel RST for p's connection, as soon as there is room. It may be
// called under Session.mu: it does not wait. In an instance that has failed RST would
// be an orderly end for what was lost; its sockets hear of that when it is closed. But
// for those that connect: they are told here, or not at all.
func (i *instance) reset(p mux.Packet) {
	if p.Op != mux.OpRequest && i.failure() != nil {
		return
	}
	if !i.queue.reply(resetOf(p)) {
		i.fail(errOverflow)
	}
}

// transmit tells those that wait when there is room, and watches that the kernel
// takes something while anybody waits.
func (i *instance) transmit() {
	timer := time.NewTimer(stallTime)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-i.ctx.Done():
			return
		case <-i.dev.Room():
			for _, s := range i.queue.room() {
				s.Wake()
			}
		case <-i.queue.watch:
			timer.Reset(stallTime)
		case <-timer.C:
			left, waits := i.queue.patience(time.Now())
			switch {
			case waits && left <= 0:
				i.fail(errStalled)
			case waits:
				timer.Reset(left)
			}
		}
	}
}
