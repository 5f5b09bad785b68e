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

	"xvsock/xen"
	"xvsock/xen/naming"
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
	return AttachWith(ctx, store, front, back, AttachOptions{Tags: tags})
}

// AttachOptions are what an attach says of the domain.
type AttachOptions struct {
	Tags []string
	// Config is what the domain is told, as SetConfig writes it. Nil: what it is
	// told already stays.
	Config map[string][]string
}

// AttachWith is Attach with all that an attach can say. The error may wrap
// ErrConfig too.
func AttachWith(ctx context.Context, store *xenstore.Client, front, back Domain, o AttachOptions) error {
	return attachTogether(ctx, store, back, []frontend{{Domain: front, tags: o.Tags, config: o.Config}})
}

// frontend is a domain to attach.
type frontend struct {
	Domain
	tags []string
	// keep says that tags are only for want of those that the domain has from
	// an attach before.
	keep bool
	// config is what the domain is told; nil: nothing new.
	config map[string][]string
}

// batch is how many domains attachAll attaches in one step. What the search for
// old backends costs, a request for every domain that runs, is paid once a step. And
// those that are moved in one step leave a manager that lives in one moment: of
// domains linked to each other it tells none that the other is gone.
const batch = 128

// attachAll attaches many domains to back, and returns the error of each. It
// takes few steps, and where one fails, one step for each domain, so that none
// stands in the way of others.
func attachAll(ctx context.Context, store *xenstore.Client, back Domain, all []frontend) []error {
	errs := make([]error, 0, len(all))
	for some := range slices.Chunk(all, batch) {
		failed := len(some) > 1 && attachTogether(ctx, store, back, some) != nil
		for _, f := range some {
			var err error
			if failed || len(some) == 1 {
				err = attachTogether(ctx, store, back, []frontend{f})
			}
			errs = append(errs, err)
		}
	}
	return errs
}

// attachTogether attaches domains to back in one step: all or none.
func attachTogether(ctx context.Context, store *xenstore.Client, back Domain, all []frontend) error {
	var at Domain // which one an error is about
	err := store.Transaction(ctx, func(tx *xenstore.Tx) error {
		at = all[0].Domain
		if err := running(ctx, tx.Read, back); err != nil {
			return err
		}
		holders, err := backendDomains(ctx, tx)
		if err != nil {
			return err
		}
		for _, f := range all {
			at = f.Domain
			if err := attachOne(ctx, tx, holders, f, back); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	// A domain that dies in the middle can make any request fail.
	for _, d := range []Domain{at, back} {
		if gone := running(ctx, store.Read, d); errors.Is(gone, ErrNoDomain) {
			err = gone
		}
	}
	return fmt.Errorf("attach %v to %v: %w", at, back, err)
}

// attachOne attaches one domain to back, which runs. holders are the domains that
// have frontends.
func attachOne(ctx context.Context, tx *xenstore.Tx, holders []xen.DomID, front frontend, back Domain) error {
	if err := running(ctx, tx.Read, front.Domain); err != nil {
		return err
	}
	held, err := heldBy(ctx, tx, holders, front.ID)
	if err != nil {
		return err
	}
	tags := front.tags
	if front.keep {
		if tags, err = keptTags(ctx, tx, held, front); err != nil {
			return err
		}
	}
	if err := CheckTags(tags); err != nil {
		return err
	}
	was, err := tx.Read(ctx, xenbus.FrontPath(front.ID)+"/backend-id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := CheckConfig(front.config); err != nil {
		return err
	}
	w := writer{ctx: ctx, tx: tx}
	if front.config != nil {
		w.config(front.ID, front.config)
	}
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
	w.backNodes(front.Domain, back.ID, again, newAttachment(), tags)
	return w.err
}

// CheckTags checks the tags of one domain. The error wraps ErrTag. They stand in
// one node, separated by blanks.
func CheckTags(tags []string) error {
	const maxTags = 16
	for i, t := range tags {
		if i >= maxTags || !naming.IsTag(t) {
			return fmt.Errorf("%.40q: %w", t, ErrTag)
		}
	}
	return nil
}

// running checks that d runs and is the domain that the caller has looked up:
// ids are used again.
func running(ctx context.Context, read func(context.Context, string) (string, error), d Domain) error {
	there, err := exists(ctx, read, "/local/domain/"+d.ID.String())
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("%w: %v does not run any more", ErrNoDomain, d)
	}
	now, err := describe(ctx, read, d.ID)
	if err == nil && d.UUID != "" && now.UUID != d.UUID {
		err = fmt.Errorf("%w: id %v is another domain's by now", ErrNoDomain, d.ID)
	}
	return err
}

// backends lists the domains that have a directory for front. It asks the
// backends' own directories, one after the other: the frontend owns the node that
// names its backend, and could name another to keep the one it has.
func backends(ctx context.Context, tx *xenstore.Tx, front xen.DomID) ([]xen.DomID, error) {
	holders, err := backendDomains(ctx, tx)
	if err != nil {
		return nil, err
	}
	return heldBy(ctx, tx, holders, front)
}

// backendDomains lists the domains that have a directory for frontends.
func backendDomains(ctx context.Context, tx *xenstore.Tx) (holders []xen.DomID, err error) {
	domains, err := tx.List(ctx, "/local/domain")
	if err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	for _, name := range domains {
		id, err := xen.ParseDomID(name)
		if err != nil {
			continue
		}
		there, err := exists(ctx, tx.Read, xenbus.BackendsPath(id))
		if err != nil {
			return nil, err
		}
		if there {
			holders = append(holders, id)
		}
	}
	return holders, nil
}

// heldBy lists those of holders that have a directory for front.
func heldBy(ctx context.Context, tx *xenstore.Tx, holders []xen.DomID, front xen.DomID) (held []xen.DomID, err error) {
	for _, id := range holders {
		there, err := exists(ctx, tx.Read, path.Dir(xenbus.BackPath(id, front)))
		if err != nil {
			return nil, err
		}
		if there {
			held = append(held, id)
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
