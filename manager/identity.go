package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"xvsock/manager/policy"
	"xvsock/xen"
	"xvsock/xen/naming"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// Identity is who a frontend is, by the toolstack's word.
type Identity struct {
	Domain     xen.DomID
	Name       string // not unique
	UUID       string
	Tags       []string // not to be changed
	Attachment string   // of this attach: another one after every attach
	Serial     uint64   // of the front link that is up, else 0
}

// domain is what rules are matched against.
func (who Identity) domain() policy.Domain {
	return policy.Domain{ID: who.Domain, Name: who.Name, UUID: who.UUID, Tags: who.Tags}
}

// identify finds out who the toolstack says the frontend is. The error wraps
// xenbus.ErrDetached if its device is not online.
//
// Most looks find nothing new, so the two nodes that tell are read first: an
// attach writes a new attachment together with all the rest.
func (m *Manager) identify(ctx context.Context, id xen.DomID) (Identity, error) {
	store, dir := m.cfg.Domain.Store, xenbus.BackPath(m.cfg.Domain.ID(), id)
	known, isKnown := m.Identify(id)
	attachment, err := store.Read(ctx, dir+"/attachment")
	if err == nil && isKnown && attachment == known.Attachment {
		var online string
		if online, err = store.Read(ctx, dir+"/online"); err == nil && online == "1" {
			return known, nil
		}
		if err == nil {
			return known, xenbus.ErrDetached
		}
	}
	if err != nil {
		return Identity{}, detachedIfMissing(err)
	}
	return m.readIdentity(ctx, id)
}

// readIdentity reads all that identifies a frontend, of one moment.
func (m *Manager) readIdentity(ctx context.Context, id xen.DomID) (Identity, error) {
	dir := xenbus.BackPath(m.cfg.Domain.ID(), id)
	who := Identity{Domain: id}
	var online, tags string
	err := m.cfg.Domain.Store.Transaction(ctx, func(tx *xenstore.Tx) (err error) {
		for _, n := range []struct {
			name string
			to   *string
		}{{"online", &online}, {"attachment", &who.Attachment}, {"uuid", &who.UUID}, {"name", &who.Name}} {
			if *n.to, err = tx.Read(ctx, dir+"/"+n.name); err != nil {
				return err
			}
		}
		tags, err = tx.Read(ctx, dir+"/tags")
		if missing(err) {
			tags, err = "", nil
		}
		return err
	})
	if err == nil && online != "1" {
		err = xenbus.ErrDetached
	}
	if err != nil {
		return who, detachedIfMissing(err)
	}
	if who.Tags, err = parseTags(tags); err != nil {
		m.log.Warn("tags of a frontend: it is taken to have none", "domain", id, "error", err)
	}
	return who, nil
}

// errTags says that a node is not what the toolstack writes of tags.
var errTags = errors.New("not at most 16 words of 1 to 32 of A-Z a-z 0-9 . _ -, with blanks between")

// parseTags reads the tags of a domain: words with blanks between them. All of
// them are good, or there are none: half of what the toolstack meant may allow what
// the other half would not.
func parseTags(text string) ([]string, error) {
	const maxTags = 16
	if len(text) > maxTags*(naming.MaxTag+1) {
		return nil, errTags
	}
	tags := strings.Fields(text)
	if len(tags) > maxTags {
		return nil, errTags
	}
	for _, t := range tags {
		if !naming.IsTag(t) {
			return nil, fmt.Errorf("%w: %.40q", errTags, t)
		}
	}
	return tags, nil
}

// detachedIfMissing is err, or xenbus.ErrDetached if it says that a node is not
// there.
func detachedIfMissing(err error) error {
	if missing(err) {
		return xenbus.ErrDetached
	}
	return err
}

// missing reports whether err says that a node is not there. In a directory that
// is not there either, a domain other than 0 is told that it may not look.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}
