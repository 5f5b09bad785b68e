package link

import (
	"context"
	"fmt"
	"time"

	"xvsock/ring"
)

// probeTime is how often a side that waits for the other one to bind looks whether that
// is still there, and how often one that maps makes a copy to know it.
const probeTime = time.Second

// Bind takes up the other side's offer: it copies their header page once, checks
// what it says, binds their event channel, maps their pages if both sides want that
// and it can be done, and tells them by an event that it has bound. It is called at
// most once; after an error only Release is left.
func (o *Offer) Bind(theirs Terms) error {
	if o.state != offered {
		return o.misplaced("bind")
	}
	o.state = failed
	if err := o.bind(theirs); err != nil {
		return asError(o.holds.peer, err)
	}
	o.state = bound
	return nil
}

func (o *Offer) bind(theirs Terms) error {
	pages := &peerPages{grants: o.holds.dom.Grants, domain: o.holds.peer, header: theirs.Header}
	size, err := o.readHeader(pages, theirs)
	if err != nil {
		return err
	}
	rx, err := o.holds.interdomain(theirs.Port)
	if err != nil {
		return err
	}
	cfg := ring.Config{
		Header: o.header.Bytes(),
		TxSize: o.opt.RingSize, TxPages: o.ring.Bytes(),
		RxSize: size, Peer: pages,
		NotifyTx: o.tx.Notify, NotifyRx: rx.Notify,
	}
	m := o.takeUp(pages, theirs.Access)
	if m != nil {
		cfg.PeerHeader, cfg.RxPages, cfg.Peer = m.header, m.ring, nil
	}
	end, err := ring.New(cfg)
	if err != nil {
		return err
	}
	o.link = &Link{
		generation: o.generation, size: min(size, o.opt.RingSize), heat: heat{off: o.opt.NoPoll},
		end: end, tx: o.tx, rx: rx, theirs: m, holds: o.holds,
	}
	o.link.watch()
	// Xen leaves an event pending on the binder's port only: this one says that
	// we have bound.
	return rx.Notify()
}

// readHeader copies their header page once, checks it (rule R2), and returns the
// size of the ring that they send through. Nothing of it but the moving words is
// read again.
func (o *Offer) readHeader(pages *peerPages, theirs Terms) (int, error) {
	peer := o.holds.peer
	if theirs.Generation != o.generation {
		return 0, lie(peer, "it names another link")
	}
	s, err := pages.fetchHeader()
	if err != nil {
		return 0, fmt.Errorf("read header: %w", err)
	}
	if s.Generation != o.generation {
		return 0, lie(peer, "its header belongs to another link")
	}
	if s.TxSize == 0 || s.RxSize != 0 {
		return 0, lie(peer, "its header names rings of %d and %d bytes: it sends through one and owns no other",
			s.TxSize, s.RxSize)
	}
	if s.TxSize > o.opt.MaxRing {
		// It decides how much memory this side spends on a mirror (rule R7). It is no
		// lie: what is allowed may just have changed, here or there.
		return 0, fmt.Errorf("it names a ring of %d bytes: this side allows %d", s.TxSize, o.opt.MaxRing)
	}
	pages.rx = s.TxRefs
	return s.TxSize, nil
}

// Link waits until the other side has bound too, which it says by an event, and
// returns the link. After an error, also that of ctx, only Release is left.
func (o *Offer) Link(ctx context.Context) (*Link, error) {
	if o.state != bound {
		return nil, o.misplaced("make the link")
	}
	o.state = failed
	if err := o.await(ctx); err != nil {
		return nil, asError(o.holds.peer, err)
	}
	o.state = linked
	o.link.start()
	o.link.Wake() // await has taken events, and news with them
	return o.link, nil
}

// await waits for the first event of our tx channel. One that the kernel had left
// over from the port's last owner does no harm: the other side finds the link's
// event pending when it binds. An event of the rx channel is the one that binding
// it left, or the other side's end.
func (o *Offer) await(ctx context.Context) error {
	l := o.link
	probe := time.NewTicker(probeTime)
	defer probe.Stop()
	for theyBound := false; !theyBound; {
		select {
		case <-l.tx.Event():
			theyBound = true
		case <-l.rx.Event():
		case <-probe.C: // it may have died, of which no event need tell
			if err := l.probe(); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("wait for the other side to bind: %w", context.Cause(ctx))
		}
		if _, err := l.fetchEnd(); err != nil {
			return err
		}
		// After the work, so that a storm costs one copy a wake-up (rule R15).
		if err := l.rx.Unmask(); err != nil {
			return err
		}
	}
	return nil
}
