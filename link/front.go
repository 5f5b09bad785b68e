package link

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/ring"
	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// Front keeps the front link of this domain, as the frontend, for as long as Run
// runs: it waits to be attached, forms the link, forms it again when it was lost
// or when the backend was restarted or moved.
type Front struct {
	dom *Domain
	opt Options
}

// NewFront returns the frontend's side of dom's front link.
func NewFront(dom *Domain, opt Options) *Front {
	return &Front{dom: dom, opt: opt.withDefaults()}
}

// Run serves the device until ctx ends or xenstore fails. Every link that forms
// is given to use.
func (f *Front) Run(ctx context.Context, use Use) error {
	attached, err := f.dom.Store.Watch(ctx, xenbus.FrontPath(f.dom.ID())+"/backend-id")
	if err != nil {
		return err
	}
	defer attached.Close()
	for {
		dev, err := xenbus.OpenFront(ctx, f.dom.Store, f.dom.ID())
		if err == nil {
			f.tellDetached(f.serve(ctx, dev, use))
			dev.Close()
		} else {
			f.tellDetached(err)
			f.opt.Log.Info("waiting for the toolstack", "reason", err, "try", fmt.Sprintf("xvsock attach %v", f.dom.ID()))
			f.awaitChange(ctx, attached, err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if f.dom.Store.Err() != nil {
			return fmt.Errorf("serve the front link: %w", f.dom.Store.Err())
		}
	}
}

// awaitChange waits until it is worth to look again after err: when the toolstack
// has written something, and for another error than that nothing is attached (a
// quota of xenstored, say) also after a while.
func (f *Front) awaitChange(ctx context.Context, attached *xenstore.Watch, err error) {
	var again <-chan time.Time
	if !errors.Is(err, xenbus.ErrDetached) {
		t := time.NewTimer(maxBackoff)
		defer t.Stop()
		again = t.C
	}
	select {
	case <-attached.Changed():
	case <-again:
	case <-ctx.Done():
	case <-f.dom.Store.Done():
	}
}

// tellDetached has it known if err says that there is no device any more.
func (f *Front) tellDetached(err error) {
	if errors.Is(err, xenbus.ErrDetached) {
		f.opt.Detached()
	}
}

// serve serves one attachment, until it ends, and returns why.
func (f *Front) serve(ctx context.Context, dev *xenbus.Device, use Use) error {
	h := &half{
		dom: f.dom, opt: f.opt, dev: dev,
		form:  func(ctx context.Context) (*Link, error) { return f.form(ctx, dev) },
		stays: func(s xenbus.State) bool { return s == xenbus.Connected },
	}
	err := h.serve(ctx, use)
	if err != nil && ctx.Err() == nil {
		f.opt.Log.Info("the front link is not served any more", "backend", dev.Peer(), "reason", err)
	}
	return err
}

// form is one handshake. Until the backend waits for us nothing is held but
// watches, so that part has no time limit.
func (f *Front) form(ctx context.Context, dev *xenbus.Device) (*Link, error) {
	if err := dev.Switch(ctx, xenbus.Initialising); err != nil {
		return nil, err
	}
	if _, err := dev.Await(ctx, func(s xenbus.State) bool { return s == xenbus.InitWait }); err != nil {
		return nil, err
	}
	offered, err := dev.Read(ctx, "versions")
	if err != nil {
		return nil, err
	}
	if !offers(offered[0], Version) {
		return nil, fmt.Errorf("backend offers versions %.32q, this frontend speaks %s", offered[0], Version)
	}
	o, err := f.offer(dev.Peer())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, formTimeout, errors.New("backend did not connect in time"))
	defer cancel()
	l, err := f.connect(ctx, dev, o)
	if err != nil {
		withdraw(ctx, dev)
		return nil, errors.Join(err, o.holds.release())
	}
	return l, nil
}

// withdraw takes back in xenstore what was offered there, before it is revoked: a
// backend that starts now must not take an offer that does not stand, or find
// another page under its reference. It writes nothing after a resume: what stands there
// now is for the link to come.
func withdraw(ctx context.Context, dev *xenbus.Device) {
	if resumed(ctx) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	dev.Switch(ctx, xenbus.Initialising) // fails only if the nodes or xenstore are gone
}

// frontOffer is what a frontend grants and allocates for its backend.
type frontOffer struct {
	generation uint64
	holds      stake
	fromEvents evtchn.Channel
	toEvents   evtchn.Channel
	header     grant.Pages // read-only
	from       grant.Pages // from-front, read-only
	to         grant.Pages // to-front, which the backend copies into
}

// offer allocates everything for a link to backend, or nothing.
func (f *Front) offer(backend xen.DomID) (*frontOffer, error) {
	o := &frontOffer{generation: newGeneration(), holds: stake{dom: f.dom, peer: backend, ledger: f.opt.Ledger}}
	if err := o.allocate(f.opt.RingSize); err != nil {
		return nil, errors.Join(err, o.holds.undo())
	}
	return o, nil
}

// allocate makes what offer promises, with rings of size bytes.
func (o *frontOffer) allocate(size int) (err error) {
	if o.fromEvents, err = o.holds.unbound("from-front"); err != nil {
		return err
	}
	if o.toEvents, err = o.holds.unbound("to-front"); err != nil {
		return err
	}
	if o.header, err = o.holds.header(o.fromEvents.Port()); err != nil {
		return err
	}
	if o.from, err = o.holds.share("from-front ring", size/xen.PageSize, grant.ReadOnly); err != nil {
		return err
	}
	if o.to, err = o.holds.share("to-front ring", size/xen.PageSize, grant.Writable); err != nil {
		return err
	}
	return ring.Format(o.header.Bytes(), ring.Static{
		Generation: o.generation,
		TxSize:     size, TxRefs: refs(o.from.Refs()),
		RxSize: size, RxRefs: refs(o.to.Refs()),
	})
}

// connect makes the offer and takes up what the backend answers.
func (f *Front) connect(ctx context.Context, dev *xenbus.Device, o *frontOffer) (*Link, error) {
	if err := dev.Switch(ctx, xenbus.Initialised,
		xenbus.Node{Name: "version", Value: Version},
		xenbus.Node{Name: "header-ref", Value: decimal(o.header.Refs()[0])},
		xenbus.Node{Name: "event-channel-from", Value: decimal(o.fromEvents.Port())},
		xenbus.Node{Name: "event-channel-to", Value: decimal(o.toEvents.Port())},
	); err != nil {
		return nil, err
	}
	s, err := dev.Await(ctx, func(s xenbus.State) bool { return s != xenbus.InitWait })
	if err != nil {
		return nil, err
	}
	if s != xenbus.Connected {
		return nil, fmt.Errorf("backend went to state %v instead of connecting", s)
	}
	peer, err := f.backendPages(ctx, dev, o.generation)
	if err != nil {
		return nil, err
	}
	end, err := ring.New(ring.Config{
		Header: o.header.Bytes(),
		TxSize: f.opt.RingSize, TxPages: o.from.Bytes(),
		RxSize: f.opt.RingSize, RxPages: o.to.Bytes(),
		Peer:     peer,
		NotifyTx: o.fromEvents.Notify, NotifyRx: o.toEvents.Notify,
	})
	if err != nil {
		return nil, err
	}
	if err := dev.Switch(ctx, xenbus.Connected); err != nil {
		return nil, err
	}
	l := &Link{
		generation: o.generation, size: f.opt.RingSize, heat: heat{off: f.opt.NoPoll},
		end: end, tx: o.fromEvents, rx: o.toEvents, holds: o.holds,
	}
	return l.start(), nil
}

// backendPages reads where the backend's header is and checks that it belongs to
// this link.
func (f *Front) backendPages(ctx context.Context, dev *xenbus.Device, generation uint64) (*peerPages, error) {
	v, err := dev.Read(ctx, "header-ref")
	if err != nil {
		return nil, err
	}
	ref, err := xenstore.ParseUint(v[0], math.MaxUint32)
	if err != nil {
		return nil, lie(dev.Peer(), "header-ref: %w", err)
	}
	peer := &peerPages{grants: f.dom.Grants, domain: dev.Peer(), header: grant.Ref(ref)}
	s, err := peer.fetchHeader()
	if err != nil {
		return nil, fmt.Errorf("read backend's header: %w", err)
	}
	if s.Generation != generation {
		return nil, lie(dev.Peer(), "backend's header belongs to another link")
	}
	if s.TxSize != 0 || s.RxSize != 0 {
		return nil, lie(dev.Peer(), "backend's header names rings of its own: %d and %d bytes", s.TxSize, s.RxSize)
	}
	return peer, nil
}

// newGeneration returns a random number that names one link. It is no secret, the
// other side reads it, so the runtime's generator will do: crypto/rand would have
// PID 1 wait a second or more until the kernel has gathered randomness.
func newGeneration() uint64 { return rand.Uint64() }

// decimal is how a number stands in a node.
func decimal[T ~uint32](n T) string { return strconv.FormatUint(uint64(n), 10) }
