package toolstack

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"xvsock/xen"
	"xvsock/xenstore"
)

// WatchConfig says what Watch attaches, and to what.
type WatchConfig struct {
	// Match are patterns for the names of the domains to attach; one has to fit.
	// "*" stands for any characters, "?" for any one. There is at least one.
	Match []string
	// Backend names the backend's domain as Pick does. By name it is whichever
	// domain has that name at a time, so that one made anew gets the frontends
	// of the one before; by id it is only the domain that has the id first.
	Backend string
	// Tags returns the tags of a domain; see Distinct. A domain that is attached
	// with others is attached again. It may be nil: then all tags are right.
	Tags func(Domain) []string
	// Config returns what a domain is told, as SetConfig writes it, or nil for a
	// domain that is told nothing here; see Distinct. What it is told otherwise is
	// replaced. A domain reads it once, when it boots, so it is written as soon as
	// the domain is seen, whether or not it is to be attached and the backend is
	// there. It may be nil.
	Config func(Domain) map[string][]string
	// Log gets a line for each attach and for what goes wrong. It may be nil.
	Log *slog.Logger
	// Ready is called once, when every domain that runs has been looked at. It
	// may be nil.
	Ready func()
}

const (
	// lookGap is the least time between two looks at all domains, so that the
	// start of hundreds costs a bounded number of requests a second.
	lookGap = 200 * time.Millisecond
	// lookShare bounds the part of the time that is spent on looking, on a host
	// where a look takes long: one part in so many.
	lookShare = 5
)

// A domain that fails to be attached is tried again after firstRetry, then after
// twice as long each time, up to lastRetry.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// lookAgain is when to look again after an event. libxl tells of a domain when
// all that matters here is written; other toolstacks may write the name later.
func lookAgain(looks int) (time.Duration, bool) {
	delays := [...]time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second}
	if looks >= len(delays) {
		return 0, false
	}
	return delays[looks], true
}

// watcher is one Watch.
//
//	+--> look --> pause (lookGap) --> wait --+
//	|                                        |
//	+-- event, again, or a retry is due -----+
//
// Nothing is due on an idle host: it then waits without limit.
type watcher struct {
	cfg     WatchConfig
	store   *xenstore.Client
	log     *slog.Logger
	backend string // how the backend is found; see findBackend
	lost    bool   // it was not found at the last look
	listed  bool   // the domains were listed once

	looks   int                    // since the last event
	trouble map[xen.DomID]*trouble // domains that could not be attached
	untold  map[xen.DomID]*trouble // domains that could not be configured
	general trouble                // looking itself fails
}

// trouble is what keeps failing, and when it is tried again.
type trouble struct {
	uuid  string // of the domain
	pause time.Duration
	until time.Time
}

// due reports whether it is time for the next try.
func (t *trouble) due() bool { return !time.Now().Before(t.until) }

// failed notes a failure and returns the time to the next try.
func (t *trouble) failed() time.Duration {
	t.pause = min(max(2*t.pause, firstRetry), lastRetry)
	t.until = time.Now().Add(t.pause)
	return t.pause
}

// Watch attaches every domain that runs, now or later, and whose name matches, to
// the backend, but for the backend's own domain. It looks when a domain comes,
// goes or is renamed, and for some seconds afterwards. What is attached as it
// should be is left alone; what another domain left behind below the backend's
// directory is removed, so that the next one with its id does not find it. A
// domain that was detached by hand is attached again at the next look.
//
// It returns nil when ctx ends, and an error if it may not look at domains or the
// connection to xenstore ends. It runs in the caller's goroutine and has no other.
// store is the toolstack's.
func Watch(ctx context.Context, store *xenstore.Client, cfg WatchConfig) error {
	w, err := newWatcher(store, cfg)
	if err != nil {
		return err
	}
	err = w.run(ctx)
	switch {
	case ctx.Err() != nil:
		return nil
	case store.Err() != nil:
		return fmt.Errorf("watch domains: %w", store.Err())
	}
	return err
}

func newWatcher(store *xenstore.Client, cfg WatchConfig) (*watcher, error) {
	if len(cfg.Match) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrGlob)
	}
	if err := CheckPatterns(cfg.Match); err != nil {
		return nil, err
	}
	w := &watcher{cfg: cfg, store: store, log: cfg.Log, backend: cfg.Backend, trouble: make(map[xen.DomID]*trouble), untold: make(map[xen.DomID]*trouble)}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	return w, nil
}

// run looks and waits, until ctx or the connection ends.
//
// A rename is seen by /vm, where libxl keeps the name a second time
// (libxl__domain_rename), and where nothing is written but when a domain is made,
// renamed or destroyed. A watch on /local/domain would see every write of every
// driver.
func (w *watcher) run(ctx context.Context) error {
	var events [3]*xenstore.Watch
	for i, path := range []string{"@introduceDomain", "@releaseDomain", "/vm"} {
		watch, err := w.store.Watch(ctx, path)
		if err != nil {
			return fmt.Errorf("watch domains: %w", err)
		}
		defer watch.Close()
		events[i] = watch
	}
	for first := true; ; first = false {
		began := time.Now()
		if err := w.lookOnce(ctx); err != nil {
			return err
		}
		if first && w.cfg.Ready != nil {
			w.cfg.Ready()
		}
		if err := w.sleep(ctx, max(lookGap, (lookShare-1)*time.Since(began))); err != nil {
			return err
		}
		var due <-chan time.Time
		if at, ok := w.next(); ok {
			due = time.After(time.Until(at))
		}
		select {
		case <-events[0].Changed():
			w.looks = 0
		case <-events[1].Changed():
			w.looks = 0
		case <-events[2].Changed():
			w.looks = 0
		case <-due:
			w.looks++
		case <-w.store.Done():
			return w.store.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sleep waits for d.
func (w *watcher) sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-w.store.Done():
		return w.store.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next says when there is to be a look without an event.
func (w *watcher) next() (at time.Time, ok bool) {
	if d, again := lookAgain(w.looks); again {
		at, ok = time.Now().Add(d), true
	}
	earlier := func(t *trouble) {
		if t.pause > 0 && (!ok || t.until.Before(at)) {
			at, ok = t.until, true
		}
	}
	for _, t := range w.trouble {
		earlier(t)
	}
	for _, t := range w.untold {
		earlier(t)
	}
	earlier(&w.general)
	return at, ok
}

// lookOnce looks, and notes if that fails. An error ends the watch: the first
// look finds out whether the caller may look at all.
func (w *watcher) lookOnce(ctx context.Context) error {
	err := w.look(ctx)
	switch {
	case err == nil:
		w.general = trouble{}
	case ctx.Err() != nil, w.store.Err() != nil, !w.listed:
		return err
	default:
		w.log.Warn("cannot look at all domains", "error", err, "again_in", w.general.failed())
	}
	return nil
}
