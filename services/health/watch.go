package health

import (
	"context"
	"errors"

	"xvsock/services"
	"xvsock/services/journal"
	"xvsock/services/varlink"
)

// changesAtOnce is how many changes a watch looks through in one step.
const changesAtOnce = 64

// watch sends the state, and then each change of it for as long as the caller
// listens. There is no queue for a caller that is slow: the registry's history goes
// on without it, and a caller that has fallen behind it is told the state as it is
// then.
func (t *session) watch(ctx context.Context, call *varlink.Call) (any, error) {
	q, err := ask(call)
	if err != nil {
		return nil, err
	}
	end, err := t.Stream(call, ErrLimitReached)
	if err != nil {
		return nil, err
	}
	defer end()

	w := watcher{session: t, call: call, service: q.Service}
	for err = w.read(); err == nil; {
		if err = w.follow(ctx); errors.Is(err, journal.ErrCompacted) {
			err = w.read()
		}
	}
	return nil, err
}

// watcher is one watch. It keeps the entries that it asks about itself, so that it
// goes through the states one by one as they were; those are at most what the
// registry holds.
type watcher struct {
	*session
	call     *varlink.Call
	service  string // empty: the whole domain
	entries  map[string]services.Entry
	revision uint64
	told     services.State // empty: nothing yet
}

// read takes the registry as it is now, and tells its state.
func (w *watcher) read() error {
	entries, revision := w.Registry.List()
	w.entries, w.revision = byName(entries), revision
	return w.tell()
}

// follow waits for the next changes and tells the states that they lead to.
func (w *watcher) follow(ctx context.Context) error {
	changes, revision, err := w.Registry.Next(ctx, w.revision, changesAtOnce)
	if err != nil {
		return err
	}
	for _, c := range changes {
		if c.Gone {
			delete(w.entries, c.Name)
		} else {
			w.entries[c.Name] = c.Entry
		}
		if err := w.tell(); err != nil {
			return err
		}
	}
	w.revision = revision
	return nil
}

// tell sends the state unless it was told last.
func (w *watcher) tell() error {
	s := w.state(w.service, w.entries)
	if s == w.told {
		return nil
	}
	w.told = s
	return w.call.Send(answer{s})
}

func byName(entries []services.Entry) map[string]services.Entry {
	m := make(map[string]services.Entry, len(entries))
	for _, e := range entries {
		m[e.Name] = e
	}
	return m
}
