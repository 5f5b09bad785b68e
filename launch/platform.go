package launch

import (
	"errors"

	"xvsock/cli"
	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/link"
	"xvsock/xenstore"
)

// realPlatform is the Xen that this process runs on.
func realPlatform() cli.Platform { return cli.Platform{Store: xenstore.Open, Devices: openDevices} }

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
