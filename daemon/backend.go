package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"xvsock/link"
	"xvsock/manager"
	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/toolstack"
	"xvsock/vsock"
	"xvsock/xen"
)

// Backend runs the daemon of the backend's domain: it serves all frontends that
// the toolstack attaches to this domain, and answers on port 2 for the whole
// host. It returns when ctx ends (nil) or when it cannot serve any more.
func Backend(ctx context.Context, cfg Config) error {
	d := newDaemon(cfg, true)
	// Until there is a policy, front links are open between the backend and its
	// frontends, and every frontend sees what every other offers.
	host := discovery.NewHostDirectory(func(discovery.Caller, discovery.Record) bool { return true })
	b := &backend{daemon: d, host: host}
	b.manager = manager.New(manager.Config{
		Domain: cfg.Domain, Stack: d.stack, Link: d.cfg.Link, Log: d.log,
		Up: b.up, Down: b.down,
	})
	return d.run(ctx, host, callerOf(b.who), d.control(b, b.manager), func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return b.mirror(ctx) })
		group.Go(func() error { return b.manager.Run(ctx) })
		return group.Wait()
	})
}

// backend joins the manager's picture of the frontends to the directory.
type backend struct {
	*daemon
	manager *manager.Manager
	host    *discovery.HostDirectory
}

// who tells what the toolstack wrote about the domain that made a connection. A
// connection of an earlier link of that domain, accepted late, is nobody's.
func (b *backend) who(c *vsock.Conn) (services.Caller, bool) {
	f, ok := b.manager.Identify(c.Peer())
	switch {
	case ok && f.Serial == c.LinkSerial():
		return frontendCaller(f), true
	case c.Peer() == b.cfg.Domain.ID:
		return b.self(), true
	}
	return services.Caller{}, false
}

// frontendCaller is a frontend in the host's directory.
func frontendCaller(f manager.Identity) services.Caller {
	return services.Caller{
		Domain: uint16(f.Domain), CID: vsock.CIDOf(f.Domain), Generation: f.Serial, Name: f.Name, UUID: f.UUID,
	}
}

// self is the backend's own domain in its directory. It goes by an id that no
// frontend has, for the domain may be a frontend of its own as well.
func (b *backend) self() services.Caller {
	return services.Caller{
		Domain: uint16(xen.DomIDSelf), CID: vsock.CIDOf(b.cfg.Domain.ID), Name: b.cfg.Name,
		// Its own registry, not one that calls over a link.
		Port: services.PortDiscovery,
	}
}

// up lets a frontend register over the link that has just formed.
func (b *backend) up(who manager.Identity, _ *link.Link) {
	err := b.host.Join(frontendCaller(who))
	if err != nil {
		b.log.Warn("directory", "domain", who.Domain, "error", err)
	}
}

// down takes out what was registered over a link.
func (b *backend) down(who manager.Identity, l *link.Link) {
	b.host.Drop(uint16(who.Domain), l.Serial())
}

// mirror keeps the backend's own services in the host's directory.
func (b *backend) mirror(ctx context.Context) error {
	self := b.self()
	if err := b.host.Join(self); err != nil {
		return fmt.Errorf("this domain's own name: %w", err)
	}
	b.publish(ctx, func(context.Context) (discovery.Registrar, error) { return local{b.host, self}, nil })
	return nil
}

// local registers the backend's own services without a connection.
type local struct {
	host *discovery.HostDirectory
	self services.Caller
}

// Register implements discovery.Registrar.
func (l local) Register(_ context.Context, e services.Entry) error { return l.host.Register(l.self, e) }

// Unregister implements discovery.Registrar.
func (l local) Unregister(_ context.Context, name string) error {
	return l.host.Unregister(l.self, name)
}

// Close implements discovery.Registrar.
func (local) Close() error { return nil }

// find returns the one domain that spec names, of this one and its frontends, by
// what the toolstack wrote of them.
func (b *backend) find(spec string) (toolstack.Domain, error) {
	self := toolstack.Domain{ID: b.cfg.Domain.ID, Name: b.cfg.Name}
	if spec == "self" || spec == "@backend" {
		return self, nil
	}
	all := []toolstack.Domain{self}
	for _, f := range b.manager.Frontends() {
		if f.Domain != self.ID { // this domain may be a frontend of its own
			all = append(all, toolstack.Domain{ID: f.Domain, Name: f.Name, UUID: f.UUID})
		}
	}
	d, err := toolstack.Pick(all, spec)
	switch {
	case errors.Is(err, toolstack.ErrAmbiguous):
		return d, message(ErrAmbiguousDomain, err)
	case err != nil:
		return d, message(ErrUnknownDomain, fmt.Errorf("%w, or is not attached to this backend", err))
	}
	return d, nil
}

// target resolves what a person calls a domain.
func (b *backend) target(spec string) (target, error) {
	d, err := b.find(spec)
	if err != nil {
		return target{}, err
	}
	if d.ID == b.cfg.Domain.ID {
		return target{cid: vsock.CIDSelf}, nil
	}
	return target{cid: uint32(d.ID), owner: &services.Caller{CID: vsock.CIDOf(d.ID), Name: d.Name, UUID: d.UUID}}, nil
}

// resolve asks the directory by the uuid, where there is one, for names may be
// those of several domains.
func (b *backend) resolve(ctx context.Context, directory *discovery.Client, name, spec string) (discovery.Record, error) {
	d, err := b.find(spec)
	if err != nil {
		return discovery.Record{}, err
	}
	return directory.Resolve(ctx, name, cmp.Or(d.UUID, d.Name))
}
