package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"xvsock/evtchn"
	"xvsock/xenstore"
)

// When the port of an event channel that was closed is unbound.
const (
	// settleTime is how long after the Close xenstore is asked: the kernel tells
	// programs of a resume within milliseconds.
	settleTime = time.Second
	// queueTime is how long after its answer the news of a resume may come. The
	// kernel's thread that hands on what xenstore tells is also the one that
	// suspends: an answer that was queued for it before the suspend is handed on
	// after the resume, ahead of the news.
	queueTime = 100 * time.Millisecond
)

// errUnsettled says that it is not known whether the domain was resumed.
var errUnsettled = errors.New("xenstore does not tell any more whether the domain was resumed")

// EventsConfig describes the event channels of a domain that may be suspended.
type EventsConfig struct {
	Store *xenstore.Client
	// Open opens the device, now and after each resume.
	Open func() (evtchn.Device, error)
	// Keep is as in evtchn.ResumableConfig: nil for PID 1.
	Keep func(evtchn.Device) error
	Log  *slog.Logger // nil: none
}

// Events are the event channels of a domain that may be suspended, as dom0 is not.
// They are abandoned as soon as xenstore tells of a resume, whether a daemon runs or
// not, and opened again by the daemon.
type Events struct {
	*evtchn.Resumable
	store   *xenstore.Client
	news    *xenstore.Watch
	ask     chan chan struct{} // to listen: look for news, and close it
	resumed chan struct{}      // capacity 1
	stop    context.CancelFunc
	done    chan struct{} // closed when listen has ended
}

// OpenEvents opens the event channels. They are closed before store is.
func OpenEvents(ctx context.Context, cfg EventsConfig) (*Events, error) {
	// Before the device, or a resume could come unseen between the two.
	news, err := cfg.Store.WatchResume(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch for a resume: %w", err)
	}
	e := &Events{
		store: cfg.Store, news: news, ask: make(chan chan struct{}),
		resumed: make(chan struct{}, 1), done: make(chan struct{}),
	}
	e.Resumable, err = evtchn.NewResumable(evtchn.ResumableConfig{
		Open: cfg.Open, Settle: e.settle, Look: e.look, Keep: cfg.Keep, Log: cfg.Log,
	})
	if err != nil {
		return nil, errors.Join(err, news.Close())
	}
	ctx, e.stop = context.WithCancel(context.WithoutCancel(ctx))
	go e.listen(ctx)
	return e, nil
}

// Resumed receives a value after one or more resumes. What was bound before is
// abandoned by then.
func (e *Events) Resumed() <-chan struct{} { return e.resumed }

// Close closes the device, as Resumable.Close does, and ends the watch.
func (e *Events) Close() error {
	err := e.Resumable.Close()
	e.stop()
	<-e.done
	return errors.Join(err, e.news.Close())
}

// listen abandons the device at each resume, and when the connection to xenstore has
// ended, until that or until ctx ends.
func (e *Events) listen(ctx context.Context) {
	defer close(e.done)
	for {
		select {
		case <-e.news.Changed():
			e.tell()
		case asked := <-e.ask:
			select {
			case <-e.news.Changed():
				e.tell()
			default:
			}
			close(asked)
		case <-e.store.Done():
			e.Abandon()
			return
		case <-ctx.Done():
			return
		}
	}
}

// tell acts on the news of a resume. The watch fires also when the connection ends,
// which a restore may have done as well: then nobody would ever tell of it. There is
// nothing to come back to in that case.
func (e *Events) tell() {
	e.Abandon()
	if e.store.Err() != nil {
		return
	}
	select {
	case e.resumed <- struct{}{}:
	default:
	}
}

// settle returns nil when a resume that came before the call is known of, and the
// device abandoned. After settleTime it has xenstore tell it something new: that goes
// the way which news of a resume went before it, through xenstored, the kernel's one
// thread for watches and our connection, each of which keeps the order but for what
// queueTime is for.
func (e *Events) settle(ctx context.Context) error {
	if err := sleep(ctx, settleTime); err != nil {
		return err
	}
	if err := e.hear(ctx); err != nil {
		if e.store.Err() != nil {
			<-e.done // the device is abandoned by then
		}
		return err
	}
	if err := sleep(ctx, queueTime); err != nil {
		return err
	}
	return e.look(ctx)
}

// look has listen act on news that are here. Without a connection there is none.
func (e *Events) look(ctx context.Context) error {
	asked := make(chan struct{})
	select {
	case e.ask <- asked:
	case <-e.done:
		return errUnsettled
	case <-ctx.Done():
		return ctx.Err()
	}
	<-asked
	return e.store.Err()
}

// sleep waits for d.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hear waits until xenstore has told of something that came after the call: a watch
// fires when it is set.
func (e *Events) hear(ctx context.Context) error {
	w, err := e.store.Watch(ctx, "domid")
	if err != nil {
		// The quota, say. An answer to a question is nearly as good.
		_, err := e.store.DomID(ctx)
		return err
	}
	defer w.Close()
	select {
	case <-w.Changed():
		return e.store.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
