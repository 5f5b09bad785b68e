package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"xvsock/cli"
	"xvsock/daemon"
	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/link"
	"xvsock/xenstore"
)

// realPlatform is the Xen that this process runs on.
func realPlatform() cli.Platform {
	return cli.Platform{Store: xenstore.Open, Devices: openDevices}
}

// openDevices opens the grant and event-channel devices for d, whose store is open.
func openDevices(ctx context.Context, d *link.Domain, log *slog.Logger) (func() error, error) {
	grants, err := grant.Open(grant.Config{})
	if err != nil {
		return nil, err
	}
	events, closeEvents, err := openEvents(ctx, d, log)
	if err != nil {
		return nil, errors.Join(err, grants.Close())
	}
	d.Grants, d.Events = grants, events
	return func() error { return errors.Join(closeEvents(), grants.Close()) }, nil
}

// openEvents opens the event channels of d: dom0's are never abandoned, for it is
// never suspended.
func openEvents(ctx context.Context, d *link.Domain, log *slog.Logger) (evtchn.Binder, func() error, error) {
	open := func() (evtchn.Device, error) { return evtchn.Open(evtchn.Config{}) }
	if d.ID() == 0 {
		events, err := open()
		if err != nil {
			return nil, nil, err
		}
		return events, events.Close, nil
	}
	cfg := daemon.EventsConfig{Store: d.Store, Open: open, Log: log}
	keeper := &evtchn.Keeper{}
	if os.Getpid() != 1 {
		cfg.Keep = func(d evtchn.Device) error {
			k, ok := d.(evtchn.Abandoned)
			if !ok {
				return fmt.Errorf("a %T has no descriptor to keep", d)
			}
			return keeper.Keep(k)
		}
	}
	events, err := daemon.OpenEvents(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	return events, func() error { return errors.Join(events.Close(), keeper.Check()) }, nil
}
