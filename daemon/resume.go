package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"xvsock/link"
	"xvsock/toolstack"
)

// How the daemon comes back from a resume.
const (
	lossPatience = 10 * time.Second // the end of the old links takes no longer, or is said to
	renewTimeout = 5 * time.Second  // of one attempt
	renewTries   = 10               // before the daemon gives up
	renewPause   = 100 * time.Millisecond
	renewLongest = 5 * time.Second // between two attempts
)

// resumer are event channels that are abandoned when the domain was resumed: Events.
type resumer interface {
	// Resumed receives a value after one or more resumes.
	Resumed() <-chan struct{}
	// Reopen opens new ones.
	Reopen() error
}

// life is what a daemon does between one resume and the next.
type life struct {
	// links keeps the links until ctx ends, and returns when nothing is held for them.
	links func(ctx context.Context) error
	// lose is called after that, if the domain was resumed: it gives up what is known
	// of other domains and held for them.
	lose func()
	// renew is called with what the toolstack says of this domain now, when it has its
	// new id and before there are links again.
	renew func(self toolstack.Domain)
}

// live keeps the links of this domain, whatever resumes come:
//
//	linked ----resume: ports abandoned--> losing
//	losing ----nothing held any more----> renewing
//	renewing --id read, ports open------> linked
//	renewing --too often in vain--------> given up (an error)
//
// A resume that comes while losing or renewing is acted on when that is done, by
// doing it once more. All links end as Lost: their ports do (design, section 8). The
// pages are given back before a new port exists. Services, listeners and the control
// socket know nothing of it, but for connections that are reset.
func (d *daemon) live(ctx context.Context, l life) error {
	events, ok := d.cfg.Domain.Events.(resumer)
	if !ok {
		return l.links(ctx) // dom0, which is never suspended
	}
	labelled := d.isLabelled(ctx)
	for {
		resumed, err := d.untilResumed(ctx, events, l)
		if !resumed {
			return err
		}
		if err := d.renew(ctx, events, func(self toolstack.Domain) {
			if !labelled {
				d.renamed.Store(&self.Name)
			}
			l.renew(self)
		}); err != nil {
			return err
		}
		d.cfg.Resumed()
	}
}

// untilResumed keeps the links until the domain is resumed, and returns when nothing
// of before is held any more; or false and why the links are not kept any more.
func (d *daemon) untilResumed(ctx context.Context, events resumer, l life) (resumed bool, err error) {
	linked, end := context.WithCancelCause(ctx)
	defer end(nil)
	var watching sync.WaitGroup
	var late *time.Timer
	watching.Go(func() {
		select {
		case <-events.Resumed():
			d.log.Info("this domain was resumed: all links are lost")
			late = time.AfterFunc(lossPatience, func() {
				d.log.Error("links of before the resume have not ended", "for", lossPatience)
			})
			end(link.ErrResumed)
		case <-linked.Done():
		}
	})
	err = l.links(linked)
	end(nil)
	watching.Wait()
	if late != nil {
		defer late.Stop()
	}
	if !errors.Is(context.Cause(linked), link.ErrResumed) {
		return false, err
	}
	l.lose()
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return true, nil
}

// renew makes this the domain that it is after a resume, and opens its event
// channels; then tells whoever has to know first. Nothing of before is held.
func (d *daemon) renew(ctx context.Context, events resumer, tell func(toolstack.Domain)) error {
	pause := renewPause
	for try := 1; ; try++ {
		err := d.tryRenew(ctx, events, tell)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case try == renewTries || d.cfg.Domain.Store.Err() != nil:
			return fmt.Errorf("come back from a resume: %w", err)
		}
		d.log.Warn("come back from a resume", "error", err, "again_in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, renewLongest)
	}
}

// tryRenew is one attempt of renew. Without the name and uuid that the toolstack gave
// this domain nothing is renewed: rules that name it would not match it any more.
func (d *daemon) tryRenew(ctx context.Context, events resumer, tell func(toolstack.Domain)) error {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	dom := d.cfg.Domain
	was := dom.ID()
	id, err := dom.Store.DomID(ctx)
	if err != nil {
		return fmt.Errorf("this domain's id: %w", err)
	}
	self, err := toolstack.Describe(ctx, dom.Store, id)
	if err != nil {
		return fmt.Errorf("this domain's own name and uuid: %w", err)
	}
	dom.SetID(id)
	d.stack.SetSelf(id)
	d.locals.change()
	d.cfg.Link.Ledger.Forget()
	tell(self)
	if err := events.Reopen(); err != nil {
		return err
	}
	d.log.Info("back after a resume", "domain", id, "was", was)
	return nil
}

// name is what this domain is called in its own answers.
func (d *daemon) name() string {
	if name := d.renamed.Load(); name != nil {
		return *name
	}
	return d.cfg.Name
}

// isLabelled reports whether the name is a label that a person gave, and not the
// toolstack's, which may be another one after a restore.
func (d *daemon) isLabelled(ctx context.Context) bool {
	self, err := toolstack.Describe(ctx, d.cfg.Domain.Store, d.cfg.Domain.ID())
	return err == nil && self.Name != d.cfg.Name
}
