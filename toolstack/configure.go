package toolstack

import (
	"context"
	"errors"
	"maps"
	"slices"
)

// configure tells every domain what the table has for it, unless that is what it
// is told already. It comes before all else in a look, because a domain that
// boots does not wait for it: one that has looked before boots with its weaker
// settings. To be sure a domain is created paused, told, and let go.
func (w *watcher) configure(ctx context.Context, all []Domain) {
	if w.cfg.Config == nil {
		return
	}
	for _, d := range all {
		t := w.untold[d.ID]
		if t != nil && !t.due() {
			continue
		}
		told, err := w.tell(ctx, d, w.cfg.Config(Distinct(all, d)))
		switch {
		case err == nil:
			delete(w.untold, d.ID)
			if told {
				w.log.Info("configured", "domain", d.ID, "name", d.Name)
			}
		case errors.Is(err, ErrNoDomain), ctx.Err() != nil, w.store.Err() != nil:
			delete(w.untold, d.ID) // the event of that is on its way
		default:
			if t == nil {
				t = &trouble{uuid: d.UUID}
				w.untold[d.ID] = t
			}
			w.log.Warn("cannot configure", "domain", d.ID, "name", d.Name, "error", err, "again_in", t.failed())
		}
	}
}

// tell tells one domain what values say, and reports whether it had to.
func (w *watcher) tell(ctx context.Context, d Domain, values map[string][]string) (told bool, err error) {
	if values == nil {
		return false, nil
	}
	// A key without values is not there to be read.
	values = maps.Clone(values)
	maps.DeleteFunc(values, func(_ string, list []string) bool { return len(list) == 0 })
	now, err := ReadConfig(ctx, w.store, d.ID)
	if err == nil && maps.EqualFunc(now, values, slices.Equal) {
		return false, nil
	}
	return true, setConfig(ctx, w.store, d, values)
}
