package toolstack

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// Move attaches every domain that has the device to back, whichever backend it
// has now, also one that is gone. It returns those that it has moved; a domain
// that is attached to back already is not among them. Domains that cannot be
// moved do not keep others from it; their errors are joined.
//
// A domain gets tags(domain), see Distinct; tags may be nil. If that is none it
// keeps the tags that it was attached with, as far as they are not gone with the
// old backend.
func Move(ctx context.Context, store *xenstore.Client, back Domain, tags func(Domain) []string) (moved []Domain, err error) {
	all, err := List(ctx, store)
	if err != nil {
		return nil, fmt.Errorf("move to %v: %w", back, err)
	}
	var fronts []frontend
	var errs []error
	for _, d := range all {
		has, err := toMove(ctx, store, d, back)
		if err != nil {
			errs = append(errs, fmt.Errorf("look at %v: %w", d, err))
		}
		if has {
			fronts = append(fronts, frontend{Domain: d, tags: lookUp(tags, all, d), keep: true})
		}
	}
	for i, err := range attachAll(ctx, store, back, fronts) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		moved = append(moved, fronts[i].Domain)
	}
	return moved, errors.Join(errs...)
}

// toMove reports whether d has the device and another backend than back.
func toMove(ctx context.Context, store *xenstore.Client, d, back Domain) (bool, error) {
	if d.ID == back.ID {
		return false, nil
	}
	has, err := exists(ctx, store.Read, xenbus.FrontPath(d.ID))
	if err != nil || !has {
		return false, err
	}
	there, err := isAttached(ctx, store, d, back)
	return !there && err == nil, err
}

// isAttached reports whether front is attached to back, as what it is called now:
// under another's uuid the nodes are those of an earlier domain with this id, and
// under another name it was renamed since. The frontend's half goes with its
// domain.
func isAttached(ctx context.Context, store *xenstore.Client, front, back Domain) (bool, error) {
	dir := xenbus.BackPath(back.ID, front.ID)
	for _, n := range []struct{ name, want string }{{"online", "1"}, {"uuid", front.UUID}, {"name", front.Name}} {
		v, err := store.Read(ctx, dir+"/"+n.name)
		if err != nil || v != n.want {
			return false, absentIsFine(err)
		}
	}
	return exists(ctx, store.Read, xenbus.FrontPath(front.ID))
}

// keptTags returns the tags that front came with, by the toolstack's table, else
// those with which it is attached to one of the backends held. That backend could
// make the directory anew, so the table's word is the stronger one. A directory that tells of
// another domain than front is left from an earlier one with its id, whose tags are
// not front's.
func keptTags(ctx context.Context, tx *xenstore.Tx, held []xen.DomID, front frontend) ([]string, error) {
	if len(front.tags) > 0 {
		return front.tags, nil
	}
	for _, b := range held {
		dir := xenbus.BackPath(b, front.ID)
		uuid, err := tx.Read(ctx, dir+"/uuid")
		if err != nil || uuid != front.UUID || uuid == "" && front.ID != 0 {
			if absentIsFine(err) != nil {
				return nil, err
			}
			continue
		}
		text, err := optional(tx.Read(ctx, dir+"/tags"))
		if err != nil {
			return nil, err
		}
		// What is no tag is not taken along.
		if tags := strings.Fields(text); len(tags) > 0 && CheckTags(tags) == nil {
			return tags, nil
		}
	}
	return nil, nil
}

// lookUp is tags(d) of a function that may be nil.
func lookUp(tags func(Domain) []string, all []Domain, d Domain) []string {
	if tags == nil {
		return nil
	}
	return tags(Distinct(all, d))
}
