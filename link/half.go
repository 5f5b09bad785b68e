package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"xvsock/ring"
	"xvsock/xenbus"
)

// Version is the version of the link protocol: of the nodes, the header page and
// the frames. The backend offers a list of versions, the frontend picks one.
const Version = "1"

// DefaultRingSize is the size of each ring of a link in bytes.
const DefaultRingSize = 64 << 10

// formTimeout bounds the part of a handshake in which something is granted or
// bound for the other side (rule R6).
const formTimeout = 10 * time.Second

// closeTimeout bounds the last words to xenstore of a half that stops.
const closeTimeout = 2 * time.Second

// Options say how links are made.
type Options struct {
	// RingSize is the size of each ring in bytes, a power of two from
	// ring.MinSize to ring.MaxSize; 0 is DefaultRingSize. On a front link the
	// frontend decides, and this is the most that a backend allows. On a peer
	// link each side decides for the ring that it sends through, and 0 is less
	// where there are many links.
	RingSize int
	// MaxRing is the largest ring in bytes that the other side of a peer link may
	// bring; 0: RingSize, and at least DefaultRingSize.
	MaxRing int
	// Access is the most that this side of a peer link may do to read: it maps if the
	// other side agrees. A front link is always copied.
	Access Access
	// NoPoll has this side never look for what the other side did before it is told.
	// Else it does where that has paid.
	NoPoll bool
	// Ledger is the domain's; nil: one of its own.
	Ledger *Ledger
	// Detached is called by a Front when the toolstack has taken its device away,
	// once nothing uses the link any more, and when there is none to begin with:
	// not when the domain was moved to another backend, nor when the backend has
	// died. It does not wait; nil: nothing is to be done.
	Detached func()
	// Log takes one line for each front link that forms or ends; nil: none.
	Log *slog.Logger
}

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	if o.RingSize == 0 {
		o.RingSize = DefaultRingSize
	}
	if o.Ledger == nil {
		o.Ledger = NewLedger()
	}
	if o.Detached == nil {
		o.Detached = func() {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// forPeer fills in what was left out for a peer link.
func (o Options) forPeer() Options {
	size := o.RingSize
	o = o.withDefaults()
	if size == 0 {
		o.RingSize = o.Ledger.ringSize()
	}
	if o.MaxRing == 0 {
		// The other side may have fewer links than this one, and so larger rings.
		o.MaxRing = max(o.RingSize, DefaultRingSize)
	}
	return o
}

// Use runs what stands above a link. It returns once the link has ended and
// nothing uses it any more; the link is closed then.
type Use func(ctx context.Context, l *Link) error

// half is one half of the device and how it makes its link: what Front and Back
// share.
type half struct {
	dom  *Domain
	opt  Options
	dev  *xenbus.Device
	form func(ctx context.Context) (*Link, error)
	// stays says in which states of the other half the link stays up.
	stays func(xenbus.State) bool
}

// serve makes the link again and again until the device is no more (an error that
// wraps one of xenbus's), ctx ends, or xenstore fails.
func (h *half) serve(ctx context.Context, use Use) error {
	var p Pace
	for {
		lived, err := h.once(ctx, use)
		if over(ctx, err) || h.dom.Store.Err() != nil {
			h.leave(ctx)
			return err
		}
		wait := p.Next(err, lived)
		h.opt.Log.Info("link is down", "domain", h.dev.Peer(), "reason", err, "again_in", wait)
		if err := h.dev.Pause(ctx, wait); err != nil {
			h.leave(ctx)
			return err
		}
	}
}

// resumed reports whether ctx ended because the domain was resumed.
func resumed(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrResumed) }

// over reports whether serve has nothing more to do after err.
func over(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, xenbus.ErrDetached) ||
		errors.Is(err, xenbus.ErrMoved) || errors.Is(err, xenbus.ErrGone)
}

// once makes the link, lets use have it, and takes it down. It returns how long
// the link was up and why it is not any more.
func (h *half) once(ctx context.Context, use Use) (lived time.Duration, err error) {
	wait, err := h.opt.Ledger.Admit(h.dev.Peer())
	if err != nil {
		return 0, err
	}
	if err := h.dev.Pause(ctx, wait); err != nil {
		return 0, err
	}
	l, err := h.form(ctx)
	if err != nil {
		return 0, asError(h.dev.Peer(), err)
	}
	h.opt.Log.Info("link is up", "domain", l.Peer(), "ring", l.size)
	return h.run(ctx, l, use)
}

// run lets use have l for as long as the other half stays.
func (h *half) run(ctx context.Context, l *Link, use Use) (time.Duration, error) {
	watch, stop := context.WithCancel(ctx)
	gone := make(chan error, 1)
	go func() {
		s, err := h.dev.Await(watch, func(s xenbus.State) bool { return !h.stays(s) })
		if err == nil {
			err = fmt.Errorf("the other half went to state %v", s)
		}
		switch {
		case resumed(ctx):
			l.End(Lost, ErrResumed)
		case ctx.Err() != nil:
			l.End(Closed, nil)
		default:
			l.End(Lost, err)
		}
		gone <- err
	}()
	err := use(ctx, l)
	l.End(Lost, err) // no-op unless use came back early
	err = l.Err()
	lived := time.Since(l.formed)
	stop()
	if left := <-gone; over(ctx, left) {
		err = left
	}
	if cerr := l.Close(); cerr != nil {
		h.opt.Log.Warn("take link down", "domain", l.Peer(), "error", cerr)
	}
	return lived, err
}

// leave says in xenstore that this half is gone, if it still can. It says nothing
// after a resume: what stands there now is for the link to come.
func (h *half) leave(ctx context.Context) {
	if resumed(ctx) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	for _, s := range []xenbus.State{xenbus.Closing, xenbus.Closed} {
		if h.dev.Switch(ctx, s) != nil {
			return
		}
	}
}

// offers reports whether version stands in list, a list separated by commas.
func offers(list, version string) bool {
	for v := range strings.SplitSeq(list, ",") {
		if v == version {
			return true
		}
	}
	return false
}

// refs turns grant references into what a header page holds.
func refs[T ~uint32](in []T) []uint32 {
	out := make([]uint32, len(in))
	for i, r := range in {
		out[i] = uint32(r)
	}
	return out
}

var _ ring.Copier = (*peerPages)(nil)
