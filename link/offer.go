package link

import (
	"errors"
	"fmt"

	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/ring"
	"xvsock/xen"
)

// Terms are what one side of a peer link tells the other, through the connection
// manager: all that it needs to find the rest.
type Terms struct {
	// Generation tells this link from every other between the two domains. The
	// initiator chooses it.
	Generation uint64
	// Header is the grant reference of the teller's header page.
	Header grant.Ref
	// Port is the event channel of the ring that the teller sends through,
	// allocated for the other side to bind.
	Port xen.Port
	// Access is how the two sides may read: of an initiator the most that it can, of a
	// responder what holds for the link.
	Access Access
}

// Offer is one side's part in making a peer link. Both sides do the same, in
// another order: the initiator offers, tells its Terms, gets the other's, and
// binds them; the responder gets Terms, offers, adopts their generation, binds
// them, and tells its own.
//
//	NewOffer ------------------------> offered
//	offered --Adopt------------------> offered
//	offered --Bind-------------------> bound
//	bound --Link, they have bound too-> linked
//	offered --Bind fails-------------> failed
//	bound --Link fails---------------> failed
//	offered, bound, failed --Release-> released
//
// Linked, all that the Offer held is the Link's. A call that the state has no
// arrow for changes nothing and is an error, but for Release, which may come at
// any time. Methods are called by one goroutine at a time: a Link under way is
// ended by its context.
//
// What went wrong with the other domain is an *Error that says the cause; it
// wraps ErrForbidden where the hypervisor keeps the two apart. The Offer logs
// nothing.
type Offer struct {
	opt        Options
	state      offerState
	generation uint64
	holds      stake
	tx         evtchn.Channel // of the ring that we send through
	header     grant.Pages    // read-only
	ring       grant.Pages    // read-only
	access     Access         // the most that this side can; from Bind on what it does
	unmapped   error          // why it copies although it was to map
	link       *Link          // from bound on; starts when linked
}

// offerState is where an Offer stands; see the drawing there.
type offerState uint8

const (
	offered offerState = iota
	bound
	linked
	failed
	released
)

// String returns the state's name in the drawing.
func (s offerState) String() string {
	switch s {
	case offered:
		return "offered"
	case bound:
		return "bound"
	case linked:
		return "linked"
	case failed:
		return "failed"
	}
	return "released"
}

// NewOffer grants a header page and a ring to peer, both read-only, and allocates
// the event channel of that ring, or holds nothing. Whether a link to peer may be
// made now is the caller's to ask before, from the Ledger (Admit).
func NewOffer(dom *Domain, peer xen.DomID, opt Options) (*Offer, error) {
	opt = opt.forPeer()
	o := &Offer{opt: opt, access: opt.Access, generation: newGeneration(), holds: stake{dom: dom, peer: peer, ledger: opt.Ledger}}
	if err := o.allocate(); err != nil {
		return nil, asError(peer, errors.Join(err, o.holds.undo()))
	}
	return o, nil
}

// allocate makes what NewOffer promises.
func (o *Offer) allocate() (err error) {
	if o.tx, err = o.holds.unbound("ring"); err != nil {
		return err
	}
	if o.header, err = o.holds.header(o.tx.Port()); err != nil {
		return err
	}
	if o.ring, err = o.holds.share("ring", o.opt.RingSize/xen.PageSize, grant.ReadOnly); err != nil {
		return err
	}
	return o.format()
}

// format writes our header page.
func (o *Offer) format() error {
	return ring.Format(o.header.Bytes(), ring.Static{
		Generation: o.generation, TxSize: o.opt.RingSize, TxRefs: refs(o.ring.Refs()),
	})
}

// Terms are what the other side has to be told. They change with Adopt, and with Bind,
// which finds out how this side reads.
func (o *Offer) Terms() Terms {
	return Terms{Generation: o.generation, Header: o.header.Refs()[0], Port: o.tx.Port(), Access: o.access}
}

// Adopt gives the link the generation that the other side has chosen, as the
// responder does, or the initiator whose request has crossed the other's. It
// comes before the other side has our Terms.
func (o *Offer) Adopt(generation uint64) error {
	if o.state != offered {
		return o.misplaced("adopt a generation")
	}
	o.generation = generation
	return o.format()
}

// Release takes the offer back and charges its pages to the ledger. Once there is
// a Link it does nothing: that is closed instead.
func (o *Offer) Release() error {
	if o.state == linked || o.state == released {
		return nil
	}
	o.state = released
	return o.holds.release()
}

// misplaced is a call that the state has no arrow for.
func (o *Offer) misplaced(what string) error {
	return fmt.Errorf("%s: the offer to domain %v is %v", what, o.holds.peer, o.state)
}
