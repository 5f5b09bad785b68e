package toolstack

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// ErrTag says that a text cannot be a tag.
var ErrTag = errors.New("bad tag: use 1 to 32 of A-Z a-z 0-9 . _ - (at most 16 tags)")

// Attach gives front the device, with back as its backend, and records who front
// is where only the backend's domain and the toolstack can write. It works
// before and after either side has started. A domain that is attached already
// gets a new attachment, and, if back is another domain than before, moves there.
//
// The error wraps ErrNoDomain if one of the domains is gone, also when its id is
// another domain's by now: no nodes are made for a domain that does not run.
func Attach(ctx context.Context, store *xenstore.Client, front, back Domain, tags []string) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	attachment := newAttachment()
	err := store.Transaction(ctx, func(tx *xenstore.Tx) error {
		for _, d := range []Domain{front, back} {
			if err := running(ctx, tx, d); err != nil {
				return err
			}
		}
		held, err := backends(ctx, tx, front.ID)
		if err != nil {
			return err
		}
		was, err := tx.Read(ctx, xenbus.FrontPath(front.ID)+"/backend-id")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		w := writer{ctx: ctx, tx: tx}
		// Both halves as they are now belong together, and keep their states.
		// Anything else is of a former attachment: what the sides would read
		// there was meant for others.
		again := was == back.ID.String() && slices.Contains(held, back.ID)
		for _, b := range held {
			if !again || b != back.ID {
				w.remove(path.Dir(xenbus.BackPath(b, front.ID)))
			}
		}
		if !again && err == nil {
			w.remove(xenbus.FrontPath(front.ID))
		}
		w.frontNodes(front.ID, back.ID, again)
		w.backNodes(front, back.ID, again, attachment, tags)
		return w.err
	})
	if err != nil {
		return fmt.Errorf("attach %v to %v: %w", front, back, err)
	}
	return nil
}

// checkTags checks what will stand in one node, separated by blanks.
func checkTags(tags []string) error {
	const maxTags, maxTag = 16, 32
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	for i, t := range tags {
		if i >= maxTags || t == "" || len(t) > maxTag || strings.Trim(t, plain) != "" {
			return fmt.Errorf("%.40q: %w", t, ErrTag)
		}
	}
	return nil
}

// running checks that d runs and is the domain that the caller has looked up:
// ids are used again.
func running(ctx context.Context, tx *xenstore.Tx, d Domain) error {
	_, err := tx.Read(ctx, "/local/domain/"+d.ID.String())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %v does not run any more", ErrNoDomain, d)
	}
	if err != nil {
		return err
	}
	now, err := describe(ctx, tx.Read, d.ID)
	if err == nil && d.UUID != "" && now.UUID != d.UUID {
		err = fmt.Errorf("%w: id %v is another domain's by now", ErrNoDomain, d.ID)
	}
	return err
}

// backends lists the domains that have a directory for front. It asks the
// backends' own directories, one after the other: the frontend owns the node that
// names its backend, and could name another to keep the one it has.
func backends(ctx context.Context, tx *xenstore.Tx, front xen.DomID) (held []xen.DomID, err error) {
	domains, err := tx.List(ctx, "/local/domain")
	if err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	for _, name := range domains {
		id, err := xen.ParseDomID(name)
		if err != nil {
			continue
		}
		_, err = tx.Read(ctx, path.Dir(xenbus.BackPath(id, front)))
		if err == nil {
			held = append(held, id)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return held, nil
}

// newAttachment returns 128 random bits in hexadecimal: the name of one attach.
func newAttachment() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
