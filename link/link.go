// Package link joins this domain to one other domain: two byte rings in granted
// pages, an event channel for each, and the rules for how that begins, how each
// side knows that the other lives, and how it ends.
//
// Front and Back form the front link, the one between a frontend and its
// backend, by the xenbus handshake, again and again for as long as the toolstack
// leaves the device in place. A Link is one such bond while it lasts; above it
// package mux runs connections.
//
// An Offer is one side's part in making a peer link, between two domains of which
// neither is the other's backend. Both ends are alike once it is made.
//
// A link ends in one of four ways, see Cause. Ending it never needs the other
// side: our state byte goes to 0, the other side gets an event, our pages are
// revoked, our ports unbound.
package link

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/ring"
	"xvsock/xen"
	"xvsock/xenstore"
)

// Domain is the domain that a link starts from: its id and its devices. It holds
// nothing; whoever opened the devices closes them. The fields are set before the
// first use.
type Domain struct {
	Grants grant.Device
	Events evtchn.Binder
	Store  *xenstore.Client
	// Suspends says that the domain may be saved and restored, which every domain but
	// domain 0 may: Events are abandoned then, and no header page has the kernel send
	// an event. It is set before there are links.
	Suspends bool

	id atomic.Uint32
}

// NewDomain returns the domain with that id and those devices.
func NewDomain(id xen.DomID, grants grant.Device, events evtchn.Binder, store *xenstore.Client) *Domain {
	d := &Domain{Grants: grants, Events: events, Store: store}
	d.SetID(id)
	return d
}

// ID is the domain's id, an address for as long as the domain stays on its host: a
// restored domain has another.
func (d *Domain) ID() xen.DomID { return xen.DomID(d.id.Load()) }

// SetID says that the domain has come back under another id, as it does when it is
// restored. No link is up then, and no Front or Back runs.
func (d *Domain) SetID(id xen.DomID) { d.id.Store(uint32(id)) }

// Link is one link to one domain. Its methods follow mux.Transport, which says
// which of them may be called at once.
type Link struct {
	generation uint64 // the word of the frontend, or of a peer link's initiator
	serial     uint64 // ours
	size       int    // of the smaller ring, bytes
	formed     time.Time

	heat     heat         // of whoever is on duty, as what follows
	awake    bool         // this side says that it looks
	claim    evtchn.Claim // of the domain's events; nil: none
	claimed  atomic.Bool  // claim is not nil
	unread   int          // polls since events were collected
	looks    int          // since others had their turn
	yield    int          // looks until they have it again; set by start
	quiet    atomic.Bool  // the last Sleep was ended by its time
	attended atomic.Bool  // somebody looks, or will very soon: Flush may leave it to that

	end    *ring.End
	tx, rx evtchn.Channel // of the ring that we write, of the ring that we read
	theirs *mapped        // the other side's pages, mapped; nil: they are copied
	holds  stake

	wake  chan struct{}
	waits waits
	timer *time.Timer // of Wait; the receive side's

	mu   sync.Mutex
	err  *Error        // why the link has ended; nil while it is up
	done chan struct{} // closed with err
	down atomic.Bool   // set with err, for every message's path

	// Flush may come from any goroutine at any time, Close after it must not take
	// the ports away under it.
	flushing sync.RWMutex
	closed   bool
}

// start fills in what every link needs once its rings and channels stand.
func (l *Link) start() *Link {
	l.serial = l.holds.ledger.opened()
	l.formed = time.Now()
	l.wake = make(chan struct{}, 1)
	l.done = make(chan struct{})
	l.timer = time.NewTimer(time.Hour)
	l.timer.Stop()
	l.yield = l.yields()
	return l
}

// Peer is the domain at the other end.
func (l *Link) Peer() xen.DomID { return l.holds.peer }

// Serial names this link among all that this process makes. Unlike the generation
// it is nobody else's word.
func (l *Link) Serial() uint64 { return l.serial }

// Generation is the random number by which the frontend, or the initiator of a
// peer link, tells this link from earlier and later ones between the same two
// domains.
func (l *Link) Generation() uint64 { return l.generation }

// Ring is the size in bytes of the smaller ring.
func (l *Link) Ring() int { return l.size }

// Formed is since when the link stands on this side.
func (l *Link) Formed() time.Time { return l.formed }

// Pages is the number of pages that this side has granted for the link.
func (l *Link) Pages() int { return l.holds.count() }

// maxPayload is the most that a frame carries, whatever the ring (design,
// section 5).
const maxPayload = 64 << 10

// MaxPayload is the largest payload of a frame: a quarter of the ring, so that
// four connections can have data in it at once.
func (l *Link) MaxPayload() int { return min(maxPayload, l.size/4) }

// Peek shows what the other side has sent; see ring.End.Peek.
func (l *Link) Peek(min int) (a, b []byte, err error) {
	if err := l.ended(); err != nil {
		return nil, nil, err
	}
	if a, b, err = l.end.Peek(min); err != nil {
		return nil, nil, l.fail(err)
	}
	return a, b, nil
}

// Discard ends the use of n peeked bytes.
func (l *Link) Discard(n int) { l.end.Discard(n) }

// Free returns how many bytes Reserve has room for.
func (l *Link) Free() int { return l.end.Free() }

// Reserve returns room for n bytes, or nil.
func (l *Link) Reserve(n int) (a, b []byte) { return l.end.Reserve(n) }

// Commit publishes what was written into the reserved room.
func (l *Link) Commit(n int) error {
	if err := l.ended(); err != nil {
		return err
	}
	if err := l.end.Commit(n); err != nil {
		return l.fail(err)
	}
	return nil
}

// Taken reports whether the other side has taken all that was committed, as far
// as the last Wait knows. It may be called by any goroutine.
func (l *Link) Taken() bool { return l.end.Taken() }

// Want asks for an event once n bytes are free.
func (l *Link) Want(n int) { l.end.Want(n) }

// Flush sends the events that are due. It may still be under way, or come, while
// the link is closed.
func (l *Link) Flush() error {
	if l.attended.Load() && l.end.PeerAwake() {
		return nil // the next look finds whether it still is, and sends what is due if not
	}
	l.flushing.RLock()
	defer l.flushing.RUnlock()
	if l.closed {
		return l.Err()
	}
	if err := l.guard(l.end.Flush); err != nil {
		return l.fail(err)
	}
	return nil
}

// Wake makes the current Wait, or the next, return.
func (l *Link) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Done is closed when the link has ended.
func (l *Link) Done() <-chan struct{} { return l.done }

// Err says why the link has ended, as an *Error; nil while it is up.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		return nil
	}
	return l.err
}

// ended is Err without a lock while the link is up.
func (l *Link) ended() error {
	if !l.down.Load() {
		return nil
	}
	return l.Err()
}

// End ends the link for the given cause and wakes who waits on it. The first
// cause stays. What the link holds is given back by Close.
func (l *Link) End(cause Cause, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.err = &Error{Cause: cause, Peer: l.holds.peer, Err: err}
	l.down.Store(true)
	close(l.done)
}

// fail ends the link for what ring, grant or event channel reported, and returns
// why it has ended, which may be something earlier.
func (l *Link) fail(err error) error {
	l.End(causeOf(err), err)
	return l.Err()
}

// Close gives everything back that this side holds for the link, charges its
// pages to the ledger, and ends the link if it is still up. It is called once
// nobody uses the rings any more; a second call does nothing. It does not wait
// for the other side, which sees its state byte, gets an event, and finds our
// pages revoked.
func (l *Link) Close() error {
	l.End(Closed, nil)
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.unclaim()
	l.end.Close()
	l.holds.ledger.closed()
	err := errors.Join(l.tx.Notify(), l.rx.Notify())
	if errors.Is(err, evtchn.ErrAbandoned) {
		err = nil // of before a resume: there is nobody to tell
	}
	return errors.Join(err, l.holds.release())
}
