package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"xvsock/link"
	"xvsock/manager"
	"xvsock/manager/policy"
	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/services/varlink"
	"xvsock/toolstack"
	"xvsock/vsock"
	"xvsock/xen"
)

// Backend runs the daemon of the backend's domain: it serves all frontends that
// the toolstack attaches to this domain, and answers on port 2 for the whole
// host. It returns when ctx ends (nil) or when it cannot serve any more.
func Backend(ctx context.Context, cfg Config) error {
	if err := cfg.Budgets.Check(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	b := &backend{}
	b.host = discovery.NewHostDirectory(discovery.HostConfig{Visible: b.visible, Registrations: cfg.Budgets.Registrations})
	b.manager = manager.New(manager.Config{
		Domain: cfg.Domain, Link: cfg.Link, Log: cfg.Log, Budgets: cfg.Budgets,
		Self: ownFacts(ctx, cfg),
		Up:   b.up, Down: b.down, Changed: func() { b.host.PolicyChanged(); b.locals.change() },
	})
	b.daemon = newDaemon(cfg, b, vsock.Config{Backend: true, Guard: b.manager, MaxConns: cfg.Budgets.Connections})
	own := varlink.Methods{MethodPolicy: b.policy}
	return b.run(ctx, b, b.host, own, func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		if b.cfg.Rules != nil {
			group.Go(func() error { return b.cfg.Rules.Run(ctx, b.manager.SetPolicy) })
		}
		group.Go(func() error {
			return b.live(ctx, life{
				links: b.links,
				lose:  b.locals.forget, // the manager has nothing left without frontends
				renew: func(self toolstack.Domain) { b.manager.SetSelf(facts(self)) },
			})
		})
		return group.Wait()
	})
}

// links serves the frontends, and keeps the backend's own services in the directory,
// until ctx ends.
func (b *backend) links(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return b.mirror(ctx) })
	group.Go(func() error {
		b.awaitRules(ctx)
		return b.manager.Run(ctx, b.stack)
	})
	return group.Wait()
}

// awaitRules waits until the policy was read for the first time. A manager that was
// started again must not tell its frontends meanwhile that nothing is allowed: they
// would end their links.
func (b *backend) awaitRules(ctx context.Context) {
	if b.cfg.Rules == nil {
		return
	}
	select {
	case <-b.cfg.Rules.Ready():
	case <-ctx.Done():
	}
}

// ownFacts is the backend's own domain as rules see it: by the toolstack's word, as
// every domain may read it of itself.
func ownFacts(ctx context.Context, cfg Config) policy.Domain {
	self, err := toolstack.Describe(ctx, cfg.Domain.Store, cfg.Domain.ID())
	if err != nil {
		// It still matches @backend, @dom0 and *.
		cfg.Log.Warn("this domain's own name and uuid", "error", err)
	}
	self.ID = cfg.Domain.ID()
	return facts(self)
}

// facts is a backend's domain as rules see it.
func facts(self toolstack.Domain) policy.Domain {
	return policy.Domain{ID: self.ID, Name: self.Name, UUID: self.UUID, Backend: true}
}

// backend joins the manager's picture of the frontends to the directory.
type backend struct {
	*daemon
	manager *manager.Manager
	host    *discovery.HostDirectory
}

// visible reports whether a caller may know of a service in the host's directory:
// whoever may connect to it, and this domain's own root.
func (b *backend) visible(c discovery.Caller, r discovery.Record) bool {
	self := uint16(xen.DomIDSelf)
	if c.Domain == self && c.Privileged() {
		return true
	}
	return b.manager.Allowed(b.realID(c.Domain), b.realID(r.DomainID), r.Port)
}

// neighbours implements role: this domain itself, which is the backend, and the
// frontends with which the rules let it have connections.
func (b *backend) neighbours() []neighbour {
	all := []neighbour{{id: b.cfg.Domain.ID(), backend: true}}
	for _, f := range b.manager.Neighbours() {
		all = append(all, neighbour{id: f.Domain, name: f.Name})
	}
	return all
}

// gone implements role.
func (b *backend) gone(id xen.DomID) bool { return !b.manager.Adjoins(id) }

// sees implements role: whoever may connect to it, and this domain's own root.
func (b *backend) sees(c services.Caller, port uint32) bool {
	return b.visible(c, discovery.Record{DomainID: uint16(xen.DomIDSelf), Port: port})
}

// commands implements role: the domain with the toolstack, and this domain itself.
func (b *backend) commands(c services.Caller) bool {
	return c.Domain == 0 || xen.DomID(c.Domain) == xen.DomIDSelf
}

// realID is the domain that goes by id in the directory; see self.
func (b *backend) realID(id uint16) xen.DomID {
	if xen.DomID(id) == xen.DomIDSelf {
		return b.cfg.Domain.ID()
	}
	return xen.DomID(id)
}

// who tells what the toolstack wrote about the domain that made a connection. A
// connection of an earlier link of that domain, accepted late, is nobody's.
func (b *backend) who(c *vsock.Conn) (services.Caller, bool) {
	f, ok := b.manager.Identify(c.Peer())
	switch {
	case ok && f.Serial == c.LinkSerial():
		return frontendCaller(f), true
	case c.Peer() == b.cfg.Domain.ID():
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
		Domain: uint16(xen.DomIDSelf), CID: vsock.CIDOf(b.cfg.Domain.ID()), Name: b.name(),
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
	spec = byCID(spec)
	self := toolstack.Domain{ID: b.cfg.Domain.ID(), Name: b.name()}
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
	if d.ID == b.cfg.Domain.ID() {
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
