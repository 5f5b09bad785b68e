package ring

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// Config says what one side of a link has and how it reaches the rest.
//
//	                      TxPages  RxPages  PeerHeader
//	peer link, copy       ours     -        -
//	peer link, map        ours     mapped   mapped
//	front link, frontend  ours     ours     -
//	front link, backend   -        -        -
//
// What is left nil is reached through Peer. All slices stay the caller's, must
// outlive the End, and are used by nobody else on this side.
type Config struct {
	// Header is our own header page, already written by Format.
	Header []byte
	// TxSize and RxSize are the sizes in bytes of the ring that we send through
	// and of the one that we receive from, whoever owns their pages.
	TxSize, RxSize int
	// TxPages are the tx ring's data pages if they can be written in place.
	TxPages []byte
	// RxPages are the rx ring's data pages if they can be read in place.
	RxPages []byte
	// PeerHeader is the other side's header page if it is mapped.
	PeerHeader []byte
	// Peer copies from and to the other side. It may be nil if nothing above
	// is.
	Peer Copier
	// NotifyTx and NotifyRx send an event on the channel of our tx ring (we
	// brought data, or want space) and of our rx ring (we brought space).
	NotifyTx, NotifyRx func() error
}

// End is one side of a link: the producer of its tx ring and the consumer of
// its rx ring.
//
// Fetch, Peek, Discard, Awake and Drained are the receive side, Free, Reserve, Commit
// and Want the send side. Each side is used by one goroutine at a time, both at
// once. Flush and Close may be called by any goroutine at any time.
//
//	up --- lie, gone, failed copy, failed notify ---> dead
//
// A dead End stays dead: every call returns the first error, Reserve returns
// nil, the rest does nothing, and nothing is published any more but by Close.
// No call of a live or a dead End allocates, except for the error that kills
// it, and none waits for the other side.
type End struct {
	own      own
	peer     *mapped // nil: the header is copied
	copier   Copier
	notifyTx func() error
	notifyRx func() error

	rx receiver
	tx sender

	peerAwake atomic.Bool // as of the last Fetch
	counters  counters

	cause atomic.Pointer[error]
	fence atomic.Uint32 // touched for the barrier alone
}

// New returns an End at position 0 of both rings. It fails only for a Config
// that no platform should hand out.
func New(cfg Config) (*End, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	e := &End{
		own:      ownWords(cfg.Header),
		copier:   cfg.Peer,
		notifyTx: cfg.NotifyTx,
		notifyRx: cfg.NotifyRx,
	}
	if cfg.PeerHeader != nil {
		e.peer = &mapped{words: ownWords(cfg.PeerHeader)}
	}
	e.rx.init(cfg, e.own.consumer)
	e.tx.init(cfg)
	return e, nil
}

func (cfg *Config) check() error {
	if err := checkPage("own header", cfg.Header); err != nil {
		return err
	}
	if cfg.PeerHeader != nil {
		if err := checkPage("mapped header", cfg.PeerHeader); err != nil {
			return err
		}
	}
	for _, r := range []struct {
		name  string
		size  int
		pages []byte
	}{{"tx", cfg.TxSize, cfg.TxPages}, {"rx", cfg.RxSize, cfg.RxPages}} {
		if !validSize(r.size) {
			return fmt.Errorf("%s ring of %d bytes: not a power of two from %d to %d", r.name, r.size, MinSize, MaxSize)
		}
		if r.pages != nil && len(r.pages) != r.size {
			return fmt.Errorf("%s ring of %d bytes: pages of %d bytes", r.name, r.size, len(r.pages))
		}
	}
	if cfg.Peer == nil && (cfg.PeerHeader == nil || cfg.TxPages == nil || cfg.RxPages == nil) {
		return errors.New("memory of the other side is not mapped, and there is no copier")
	}
	if cfg.NotifyTx == nil || cfg.NotifyRx == nil {
		return errors.New("no way to notify")
	}
	return nil
}

// Close tells the other side that this one is gone: it sets our state byte to 0
// and does nothing else. It may be called by any goroutine, dead or alive, and
// more than once; it neither notifies nor ends calls under way, which is what
// the caller does before the memory goes away.
func (e *End) Close() { storeLE32(e.own.state, stateGone) }

// dead returns why the End is dead, or nil.
func (e *End) dead() error {
	if cause := e.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// fail makes the End dead and returns why it is: err, unless it was dead
// already.
func (e *End) fail(err error) error {
	e.cause.CompareAndSwap(nil, &err)
	return e.dead()
}
