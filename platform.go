package main

import (
	"context"
	"errors"
	"fmt"

	"xvsock/cli"
	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/link"
	"xvsock/xenstore"
)

// realPlatform is the Xen that this process runs on.
func realPlatform() cli.Platform {
	return cli.Platform{Domain: openDomain, Store: xenstore.Open}
}

// openDomain opens xenstore and the devices of this domain. The function that it
// returns closes them.
func openDomain(ctx context.Context) (*link.Domain, func() error, error) {
	store, err := xenstore.Open()
	if err != nil {
		return nil, nil, fmt.Errorf("open xenstore: %w", err)
	}
	self, err := store.ReadDomID(ctx, "domid")
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read our own domain id: %w", err), store.Close())
	}
	d := &link.Domain{ID: self, Store: store}
	closeDevices, err := openDevices(d)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return d, func() error { return errors.Join(closeDevices(), store.Close()) }, nil
}

// openDevices opens the grant and event-channel devices for d.
func openDevices(d *link.Domain) (func() error, error) {
	grants, err := grant.Open(grant.Config{})
	if err != nil {
		return nil, err
	}
	events, err := evtchn.Open(evtchn.Config{})
	if err != nil {
		return nil, errors.Join(err, grants.Close())
	}
	d.Grants, d.Events = grants, events
	return func() error { return errors.Join(events.Close(), grants.Close()) }, nil
}
