// Package evtchn is event channels: a way for one domain to wake another.
//
// An event carries no data, and events that arrive before the last one was
// handled are one. Binder makes channels, Channel is one end of one. Open
// returns the kernel's Binder, over /dev/xen/evtchn; package sim has its own. A
// Resumable goes over either, in a domain that may be suspended, and a Keeper holds
// what is left of before when the process ends.
//
// Xen tells nobody when the other end of a channel goes away, and a Notify on
// a dead channel succeeds (xen/common/event_channel.c): an event channel says
// nothing about whether the other side lives.
package evtchn

import (
	"errors"

	"xvsock/xen"
)

// ErrNoPorts says that the domain has no event-channel port left
// (max_event_channels in the domain's configuration).
var ErrNoPorts = errors.New("no more event channels: max_event_channels of this domain is used up")

// Binder makes event channels of this domain.
type Binder interface {
	// Unbound allocates a port that only domain remote may bind to.
	Unbound(remote xen.DomID) (Channel, error)
	// Interdomain binds a new local port to the port that domain remote has
	// allocated for this domain. One event is then pending on the local port;
	// the caller notifies once, so that the other end gets one too (Xen leaves
	// one pending on the binder's port only).
	Interdomain(remote xen.DomID, port xen.Port) (Channel, error)
}

// Channel is this domain's end of an event channel. Its methods may be called
// by many goroutines at once.
type Channel interface {
	// Port is the local port.
	Port() xen.Port
	// Notify sends an event to the other end. It returns nil also when there is
	// no other end any more.
	Notify() error
	// Event receives one value after each event. It has room for one value and
	// is never closed. After a value was received no further one comes until
	// Unmask.
	Event() <-chan struct{}
	// Unmask lets the next event through; one that came meanwhile comes at once.
	// It is called after the work, so that a storm of events costs at most one
	// wake-up for each round of work (rule R15).
	Unmask() error
	// Close unbinds the port. It tells the other side nothing. A second call
	// does nothing.
	Close() error
}
