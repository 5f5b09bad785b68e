package mux

import (
	"maps"
	"sync"
)

// tuple names a connection of a link, seen from this side.
type tuple struct{ local, remote uint32 }

// portAny is VMADDR_PORT_ANY. It and 0 are no ports.
const portAny = 0xFFFFFFFF

// ValidPort reports whether a connection may have that port.
func ValidPort(p uint32) bool { return p != 0 && p != portAny }

// owner is who the frames of a tuple belong to: a Conn that ends the stream
// here, or something that passes its frames on.
type owner interface {
	// frame takes a checked frame. The pump calls it without a lock. a and b
	// are the payload in the ring: each byte is read at most once, and none
	// after frame returns. False says that the frame stays there (Session.held).
	frame(h header, a, b []byte) bool
	// reset ends the tuple with RST to the other side. Session.mu is held.
	reset(r Reason)
	// linkEnded ends the tuple with its link. Session.mu is held.
	linkEnded(err *ResetError)
	// ask sends something that the other side has to answer, and returns false
	// if the state of the tuple has no such frame. Session.mu is held.
	ask() bool
	// info describes the tuple for status. Session.mu is held.
	info() ConnInfo
}

// entry is a tuple's owner and the permit that the tuple stands under.
type entry struct {
	owner
	permit Permit // nil: none
}

// table holds the tuples of a link. It changes under Session.mu only; its own
// lock lets the pump look up without waiting for a writer's copy into the ring.
type table struct {
	mu      sync.Mutex
	entries map[tuple]entry

	last  tuple // of the last get
	found owner // what it found; nil: nothing, or the table has changed since
}

func (t *table) get(k tuple) owner {
	t.mu.Lock()
	if t.found == nil || t.last != k {
		t.last, t.found = k, t.entries[k].owner
	}
	o := t.found
	t.mu.Unlock()
	return o
}

func (t *table) put(k tuple, e entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries[k], t.found = e, nil
}

// pass gives a tuple to another owner, under the permit that it stands under.
func (t *table) pass(k tuple, to owner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries[k], t.found = entry{owner: to, permit: t.entries[k].permit}, nil
}

// remove returns the permit of what it removed.
func (t *table) remove(k tuple) Permit {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.entries[k].permit
	t.found = nil
	delete(t.entries, k)
	return p
}

func (t *table) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.entries)
}

// all returns the entries of the moment, so that they can be ended one by one
// while the table changes.
func (t *table) all() map[tuple]entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.entries)
}
