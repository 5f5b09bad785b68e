package toolstack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"xvsock/xen"
	"xvsock/xen/naming"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// look compares all domains with what is attached, and changes what differs. What
// fails for one domain is noted in trouble; the error is about the rest.
func (w *watcher) look(ctx context.Context) error {
	all, err := List(ctx, w.store)
	if err != nil {
		return err
	}
	w.listed = true
	w.forget(all)
	w.configure(ctx, all)
	back, ok := w.findBackend(all)
	if !ok {
		clear(w.trouble) // it was with another backend
		return nil
	}
	swept := w.sweep(ctx, all, back)
	var fresh, again []frontend
	for _, d := range all {
		if !w.wants(d, back) {
			delete(w.trouble, d.ID)
			continue
		}
		f := frontend{Domain: d, tags: lookUp(w.cfg.Tags, all, d)}
		switch there, err := w.there(ctx, f, back); {
		case err != nil:
			w.failed(ctx, d, err)
		case there:
			delete(w.trouble, d.ID)
		case w.trouble[d.ID] == nil:
			fresh = append(fresh, f)
		case w.trouble[d.ID].due():
			again = append(again, f)
		}
	}
	w.attach(ctx, back, fresh)
	for _, f := range again { // alone, so that the trouble stays theirs
		w.attach(ctx, back, []frontend{f})
	}
	return swept
}

// there reports whether front is attached as it is to be, also with the tags that
// the table gives it, in any order. Without a table those that it has are right.
func (w *watcher) there(ctx context.Context, front frontend, back Domain) (bool, error) {
	there, err := isAttached(ctx, w.store, front.Domain, back)
	if !there || err != nil || w.cfg.Tags == nil {
		return there, err
	}
	text, err := w.store.Read(ctx, xenbus.BackPath(back.ID, front.ID)+"/tags")
	if err != nil {
		return false, absentIsFine(err)
	}
	return sameTags(strings.Fields(text), front.tags), nil
}

// sameTags reports whether two lists have the same tags.
func sameTags(a, b []string) bool {
	missing := func(in []string) func(string) bool {
		return func(t string) bool { return !slices.Contains(in, t) }
	}
	return !slices.ContainsFunc(a, missing(b)) && !slices.ContainsFunc(b, missing(a))
}

// attach attaches domains.
func (w *watcher) attach(ctx context.Context, back Domain, fronts []frontend) {
	for i, err := range attachAll(ctx, w.store, back, fronts) {
		d := fronts[i].Domain
		if err != nil {
			w.failed(ctx, d, err)
			continue
		}
		delete(w.trouble, d.ID)
		w.log.Info("attached", "domain", d.ID, "name", d.Name, "backend", back.ID, "tags", fronts[i].tags)
	}
}

// forget drops the notes about domains that are gone.
func (w *watcher) forget(all []Domain) {
	gone := func(id xen.DomID, t *trouble) bool {
		return !slices.ContainsFunc(all, func(d Domain) bool { return d.ID == id && d.UUID == t.uuid })
	}
	maps.DeleteFunc(w.trouble, gone)
	maps.DeleteFunc(w.untold, gone)
}

// failed notes that d could not be attached. That it is gone, or the backend is,
// is no failure: the event of that is on its way.
func (w *watcher) failed(ctx context.Context, d Domain, err error) {
	if errors.Is(err, ErrNoDomain) || ctx.Err() != nil || w.store.Err() != nil {
		delete(w.trouble, d.ID)
		return
	}
	t := w.trouble[d.ID]
	if t == nil {
		t = &trouble{uuid: d.UUID}
		w.trouble[d.ID] = t
	}
	w.log.Warn("cannot attach", "domain", d.ID, "name", d.Name, "error", err, "again_in", t.failed())
}

// findBackend returns the backend's domain, if it runs.
func (w *watcher) findBackend(all []Domain) (Domain, bool) {
	back, err := Pick(all, w.backend)
	if err != nil {
		if !w.lost {
			w.log.Warn("no backend to attach to, waiting for it", "error", err)
		}
		w.lost = true
		return Domain{}, false
	}
	if w.lost {
		w.log.Info("the backend is there", "domain", back.ID, "name", back.Name)
	}
	w.lost = false
	// An id is used again, by a domain that was not meant.
	if (back.Name != w.backend || isNumber(w.backend)) && back.UUID != "" {
		w.backend = "uuid:" + back.UUID
	}
	return back, true
}

// wants reports whether d is to be attached to back.
func (w *watcher) wants(d, back Domain) bool {
	return d.ID != back.ID && d.Name != "" && !migrating(d.Name) &&
		slices.ContainsFunc(w.cfg.Match, func(pattern string) bool { return naming.Match(pattern, d.Name) })
}

// migrating reports whether a name is one that xl gives for the time of a
// migration: to the copy that does not run yet, and to the one that does not run
// any more (tools/xl: xl_vmcontrol.c, xl_migrate.c). The first gets its own name
// when it begins to run.
func migrating(name string) bool {
	return strings.HasSuffix(name, "--incoming") || strings.HasSuffix(name, "--migratedaway")
}

// sweep removes below back's directory what is left from domains that are gone.
func (w *watcher) sweep(ctx context.Context, all []Domain, back Domain) error {
	entries, err := w.store.List(ctx, xenbus.BackendsPath(back.ID))
	if err != nil {
		return absentIsFine(err)
	}
	running := make(map[xen.DomID]Domain, len(all))
	for _, d := range all {
		running[d.ID] = d
	}
	var errs []error
	for _, entry := range entries {
		id, err := xen.ParseDomID(entry)
		if err != nil {
			continue
		}
		if d, runs := running[id]; runs {
			uuid, err := optional(w.store.Read(ctx, xenbus.BackPath(back.ID, id)+"/uuid"))
			if err != nil {
				errs = append(errs, err)
			}
			if err != nil || uuid == d.UUID {
				continue
			}
		}
		removed, err := removeLeft(ctx, w.store, back.ID, id)
		if err != nil {
			errs = append(errs, fmt.Errorf("remove what domain %v left: %w", id, err))
		}
		if removed {
			w.log.Info("removed what a domain left behind", "domain", id, "backend", back.ID)
		}
	}
	return errors.Join(errs...)
}

// removeLeft removes the backend's half of a device whose domain is gone. If the
// frontend's half is there, a domain of that id was attached meanwhile.
func removeLeft(ctx context.Context, store *xenstore.Client, back, front xen.DomID) (removed bool, err error) {
	err = store.Transaction(ctx, func(tx *xenstore.Tx) error {
		removed = false
		there, err := exists(ctx, tx.Read, xenbus.FrontPath(front))
		if err != nil || there {
			return err
		}
		removed = true
		return absentIsFine(tx.Remove(ctx, path.Dir(xenbus.BackPath(back, front))))
	})
	return removed && err == nil, err
}
