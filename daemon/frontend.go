package daemon

import (
	"context"
	"time"

	"xvsock/link"
	"xvsock/manager"
	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/vsock"
	"xvsock/xen"
)

// Frontend runs the daemon of a domain that has a backend elsewhere: PID 1 of a
// service domain, or `xvsock domain`. It returns when ctx ends (nil) or when the
// domain cannot be served any more.
func Frontend(ctx context.Context, cfg Config) error {
	d := newDaemon(cfg, false)
	// A frontend does not know its neighbours' names: it knows their links.
	identify := callerOf(func(xen.DomID) (services.Caller, bool) { return services.Caller{}, true })
	own := discovery.NewOwnDirectory(d.registry,
		services.Caller{Domain: uint16(cfg.Domain.ID), CID: uint32(cfg.Domain.ID), Name: cfg.Name},
		func(discovery.Caller, discovery.Record) bool { return true })
	front := link.NewFront(cfg.Domain, d.cfg.Link)
	return d.run(ctx, own, identify, d.control(d.frontNames, nil), func(ctx context.Context) error {
		return front.Run(ctx, func(ctx context.Context, l *link.Link) error { return d.useFront(ctx, l) })
	})
}

// useFront runs the connections of the front link, and meanwhile meets the
// manager and tells the backend's directory what this domain offers.
func (d *daemon) useFront(ctx context.Context, l *link.Link) error {
	ctx, cancel := context.WithCancel(ctx)
	met := make(chan struct{})
	go func() {
		defer close(met)
		if manager.Join(ctx, d.stack, l) == nil {
			d.announce(ctx)
		}
	}()
	err := d.stack.Serve(l, true)
	cancel()
	<-met
	return err
}

// announceRetry is how long to wait after the backend's directory did not take
// what it was told.
const announceRetry = 5 * time.Second

// announce keeps the backend's directory up to date with the registry, until ctx
// ends: over connections from ports that only the domain's root may use.
func (d *daemon) announce(ctx context.Context) {
	for ctx.Err() == nil {
		err := discovery.Publish(ctx, d.registry, func(ctx context.Context) (discovery.Registrar, error) {
			conn, err := d.stack.DialPrivileged(ctx, vsock.Addr{CID: vsock.CIDBackend, Port: services.PortDiscovery})
			if err != nil {
				return nil, err
			}
			return discovery.NewClient(conn, discovery.ClientConfig{}), nil
		})
		if err == nil {
			return
		}
		d.log.Warn("register with the backend's directory", "error", err, "again_in", announceRetry)
		select {
		case <-time.After(announceRetry):
		case <-ctx.Done():
		}
	}
}
