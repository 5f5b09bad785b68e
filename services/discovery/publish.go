package discovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"xvsock/services"
	"xvsock/services/journal"
)

// publishPause is the least time between two rounds, in which a service that
// flaps is told once.
const publishPause = 250 * time.Millisecond

// publishTime is how long a round may take.
const publishTime = 30 * time.Second

// Registrar takes the registrations of one domain. A *Client is one.
type Registrar interface {
	Register(context.Context, services.Entry) error
	Unregister(ctx context.Context, name string) error
	Close() error
}

var _ Registrar = (*Client)(nil)

// Publish keeps the services of a registry registered in the backend's
// directory, for as long as one front link lives: dial makes a connection to
// the backend's port 2 from a source port below 1024. A connection is made
// when there is something to say and closed after it. Publish returns when ctx
// is done, with nil, or when the backend cannot be told, with that error; to
// call it again starts anew with everything.
func Publish(ctx context.Context, r *services.Registry, dial func(context.Context) (Registrar, error)) error {
	told := make(map[string]services.Entry)
	for {
		entries, revision := r.List()
		if err := tell(ctx, told, entries, dial); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("publish services: %w", err)
		}
		_, _, err := r.Next(ctx, revision, 1)
		if err != nil && !errors.Is(err, journal.ErrCompacted) {
			return nil // ctx is done
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(publishPause):
		}
	}
}

// tell makes what the backend was told equal to the entries.
func tell(ctx context.Context, told map[string]services.Entry, entries []services.Entry, dial func(context.Context) (Registrar, error)) error {
	gone, changed := difference(told, entries)
	if len(gone) == 0 && len(changed) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	c, err := dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, name := range gone {
		if err := c.Unregister(ctx, name); err != nil && !errors.Is(err, ErrServiceNotFound) {
			return fmt.Errorf("unregister %s: %w", name, err)
		}
		delete(told, name)
	}
	for _, e := range changed {
		if err := c.Register(ctx, e); err != nil {
			return fmt.Errorf("register %s: %w", e.Name, err)
		}
		told[e.Name] = e
	}
	return nil
}

func difference(told map[string]services.Entry, entries []services.Entry) (gone []string, changed []services.Entry) {
	there := make(map[string]bool, len(entries))
	for _, e := range entries {
		there[e.Name] = true
		if old, known := told[e.Name]; !known || !old.Equal(e) {
			changed = append(changed, e)
		}
	}
	for name := range told {
		if !there[name] {
			gone = append(gone, name)
		}
	}
	return gone, changed
}
