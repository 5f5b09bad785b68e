package link

import (
	"context"
	"errors"
	"fmt"
	"math"

	"xvsock/grant"
	"xvsock/ring"
	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// Back keeps the front link to one frontend, as its backend, for as long as Run
// runs. A backend grants one page a frontend, its header, and copies into the
// frontend's to-front ring.
type Back struct {
	dom   *Domain
	front xen.DomID
	opt   Options
}

// NewBack returns the backend's side of the front link of domain front.
func NewBack(dom *Domain, front xen.DomID, opt Options) *Back {
	return &Back{dom: dom, front: front, opt: opt.withDefaults()}
}

// Run serves the device until ctx ends, which is also how the caller says that the
// toolstack has detached the frontend, until the frontend's domain is gone (an
// error that wraps xenbus.ErrGone), or xenstore fails. Every link that forms is
// given to use.
func (b *Back) Run(ctx context.Context, use Use) error {
	dev, err := xenbus.OpenBack(ctx, b.dom.Store, b.dom.ID(), b.front)
	if err != nil {
		return err
	}
	defer dev.Close()
	h := &half{
		dom: b.dom, opt: b.opt, dev: dev,
		form: func(ctx context.Context) (*Link, error) { return b.form(ctx, dev) },
		// The frontend is still in Initialised when we connect.
		stays: func(s xenbus.State) bool { return s == xenbus.Initialised || s == xenbus.Connected },
	}
	return h.serve(ctx, use)
}

// form is one handshake. A frontend that is still Connected, to a backend before
// us, sees InitWait and starts again; we only ever take Initialised.
func (b *Back) form(ctx context.Context, dev *xenbus.Device) (*Link, error) {
	if err := dev.Switch(ctx, xenbus.InitWait, xenbus.Node{Name: "versions", Value: Version}); err != nil {
		return nil, err
	}
	if _, err := dev.Await(ctx, func(s xenbus.State) bool { return s == xenbus.Initialised }); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, formTimeout, errors.New("xenstore did not answer in time"))
	defer cancel()
	in, err := b.readOffer(ctx, dev)
	if err != nil {
		return nil, err
	}
	l, err := b.accept(ctx, dev, in)
	if err != nil {
		return nil, fmt.Errorf("accept frontend: %w", err)
	}
	return l, nil
}

// taken is what a backend has read of its frontend's offer.
type taken struct {
	peer     *peerPages
	static   ring.Static
	from, to xen.Port
}

// readOffer reads the frontend's nodes, once and all of one moment, and its
// header page, once. Nothing of it is read again while the link lasts.
func (b *Back) readOffer(ctx context.Context, dev *xenbus.Device) (*taken, error) {
	v, err := dev.Read(ctx, "version", "header-ref", "event-channel-from", "event-channel-to")
	if err != nil {
		return nil, err
	}
	if v[0] != Version {
		return nil, lie(b.front, "it picked version %.16q, this backend offers %s", v[0], Version)
	}
	var n [3]uint64
	for i, text := range v[1:] {
		if n[i], err = xenstore.ParseUint(text, math.MaxUint32); err != nil {
			return nil, lie(b.front, "its nodes: %w", err)
		}
	}
	in := &taken{
		peer: &peerPages{grants: b.dom.Grants, domain: b.front, header: grant.Ref(n[0])},
		from: xen.Port(n[1]), to: xen.Port(n[2]),
	}
	if in.static, err = in.peer.fetchHeader(); err != nil {
		return nil, fmt.Errorf("read frontend's header: %w", err)
	}
	if in.static.TxSize == 0 || in.static.TxSize != in.static.RxSize {
		return nil, lie(b.front, "it names rings of %d and %d bytes: they must be there and equal",
			in.static.TxSize, in.static.RxSize)
	}
	if in.static.TxSize > b.opt.RingSize {
		// It decides how much memory this side spends on mirrors (rule R7).
		return nil, lie(b.front, "it names rings of %d bytes: this backend allows %d", in.static.TxSize, b.opt.RingSize)
	}
	in.peer.rx, in.peer.tx = in.static.TxRefs, in.static.RxRefs
	return in, nil
}

// accept binds the frontend's event channels, grants it our header, and says so;
// or leaves nothing behind.
func (b *Back) accept(ctx context.Context, dev *xenbus.Device, in *taken) (_ *Link, err error) {
	holds := stake{dom: b.dom, peer: b.front, ledger: b.opt.Ledger}
	defer func() {
		if err != nil {
			err = errors.Join(err, holds.release())
		}
	}()
	from, err := holds.interdomain(in.from)
	if err != nil {
		return nil, err
	}
	to, err := holds.interdomain(in.to)
	if err != nil {
		return nil, err
	}
	header, err := holds.header(to.Port())
	if err != nil {
		return nil, err
	}
	if err := ring.Format(header.Bytes(), ring.Static{Generation: in.static.Generation}); err != nil {
		return nil, err
	}
	end, err := ring.New(ring.Config{
		Header: header.Bytes(),
		TxSize: in.static.RxSize, RxSize: in.static.TxSize,
		Peer:     in.peer,
		NotifyTx: to.Notify, NotifyRx: from.Notify,
	})
	if err != nil {
		return nil, err
	}
	ref := xenbus.Node{Name: "header-ref", Value: decimal(header.Refs()[0])}
	if err := dev.Switch(ctx, xenbus.Connected, ref); err != nil {
		return nil, err
	}
	l := &Link{
		generation: in.static.Generation, size: in.static.TxSize, heat: heat{off: b.opt.NoPoll},
		end: end, tx: to, rx: from, holds: holds,
	}
	// Xen leaves an event pending on the binder's ports only: wake the frontend.
	if err := errors.Join(to.Notify(), from.Notify()); err != nil {
		return nil, err
	}
	return l.start(), nil
}
