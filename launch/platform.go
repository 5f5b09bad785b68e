package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"xvsock/bridge/afvsock"
	"xvsock/bridge/vhost"
	"xvsock/cli"
	"xvsock/daemon"
	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/link"
	"xvsock/xenstore"
)

// realPlatform is the Xen that this process runs on.
func realPlatform() cli.Platform {
	return cli.Platform{Store: xenstore.Open, Devices: openDevices, AFVsock: openAFVsock}
}

// openAFVsock makes an instance of the kernel's AF_VSOCK.
func openAFVsock(cid uint32) (afvsock.Device, error) {
	i, err := vhost.Open(cid)
	if err != nil {
		return nil, err // not a nil *vhost.Instance
	}
	return i, nil
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
	d.Grants, d.Events, d.Suspends = grants, events, suspends(d)
	return func() error { return errors.Join(closeEvents(), grants.Close()) }, nil
}

// suspends reports whether d may be saved and restored: dom0 may not.
func suspends(d *link.Domain) bool { return d.ID() != 0 }

// openEvents opens the event channels of d: dom0's are never abandoned, for it is
// never suspended.
func openEvents(ctx context.Context, d *link.Domain, log *slog.Logger) (evtchn.Binder, func() error, error) {
	open := func() (evtchn.Device, error) { return evtchn.Open(evtchn.Config{}) }
	if !suspends(d) {
		events, err := open()
		if err != nil {
			return nil, nil, err
		}
		return events, events.Close, nil
	}
	keep := &evtchn.Keeper{}
	events, err := daemon.OpenEvents(ctx, eventsConfig(d, open, os.Getpid(), keep, log))
	if err != nil {
		return nil, nil, err
	}
	return events, closing(events, keep), nil
}

// keeper is what holds devices open that must not be closed with this process:
// evtchn.Keeper.
type keeper interface {
	Keep(evtchn.Abandoned) error
	Check() error
}

// eventsConfig is how process pid keeps the event channels of d. PID 1 does not end
// before the domain does, and needs no keeper.
func eventsConfig(d *link.Domain, open func() (evtchn.Device, error), pid int, keep keeper, log *slog.Logger) daemon.EventsConfig {
	cfg := daemon.EventsConfig{Store: d.Store, Open: open, Log: log}
	if pid == 1 {
		return cfg
	}
	cfg.Keep = func(d evtchn.Device) error {
		k, ok := d.(evtchn.Abandoned)
		if !ok {
			return fmt.Errorf("a %T has no descriptor to keep", d)
		}
		return keep.Keep(k)
	}
	return cfg
}

// closing closes events, and then sees to it that what is kept outlives this process.
func closing(events io.Closer, keep keeper) func() error {
	return func() error {
		err := events.Close()
		return errors.Join(err, keep.Check())
	}
}
