package daemon

import (
	"context"
	"fmt"
	"slices"

	"xvsock/link"
	"xvsock/manager"
	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/services/varlink"
	"xvsock/toolstack"
	"xvsock/vsock"
	"xvsock/xen"
)

// Frontend runs the daemon of a domain that has a backend elsewhere: PID 1 of a
// service domain, or `xvsock domain`. It returns when ctx ends (nil) or when the
// domain cannot be served any more.
func Frontend(ctx context.Context, cfg Config) error {
	f := &frontend{newDaemon(cfg, false)}
	// A frontend does not know its neighbours' names: it knows their links.
	identify := callerOf(func(c *vsock.Conn) (services.Caller, bool) {
		return services.Caller{Domain: uint16(c.Peer())}, true
	})
	own := discovery.NewOwnDirectory(f.registry,
		services.Caller{Domain: uint16(cfg.Domain.ID), CID: vsock.CIDOf(cfg.Domain.ID), Name: cfg.Name},
		func(discovery.Caller, discovery.Record) bool { return true })
	front := link.NewFront(cfg.Domain, f.cfg.Link)
	return f.run(ctx, own, identify, f.control(f, nil), func(ctx context.Context) error {
		return front.Run(ctx, f.use)
	})
}

// frontend is the daemon of a frontend's domain.
type frontend struct{ *daemon }

// use runs the connections of the front link, and meanwhile meets the manager and
// tells the backend's directory what this domain offers.
func (f *frontend) use(ctx context.Context, l *link.Link) error {
	ctx, cancel := context.WithCancel(ctx)
	met := make(chan struct{})
	go func() {
		defer close(met)
		announced := make(chan struct{})
		err := manager.Join(ctx, f.stack, l, func() {
			go func() {
				defer close(announced)
				f.announce(ctx)
			}()
		})
		if err == nil {
			<-announced
		}
	}()
	err := f.stack.Serve(l, true)
	cancel()
	<-met
	return err
}

// announce keeps the backend's directory up to date, over connections from ports
// that only the domain's root may use.
func (f *frontend) announce(ctx context.Context) {
	f.publish(ctx, func(ctx context.Context) (discovery.Registrar, error) {
		conn, err := f.stack.DialPrivileged(ctx, vsock.Addr{CID: vsock.CIDBackend, Port: services.PortDiscovery})
		if err != nil {
			return nil, err
		}
		return discovery.NewClient(conn, discovery.ClientConfig{}), nil
	})
}

// target resolves what a person calls a domain, in a domain that knows no names
// but its own.
func (f *frontend) target(spec string) (target, error) {
	if spec == "@backend" {
		return target{cid: vsock.CIDBackend}, nil
	}
	self := uint32(f.cfg.Domain.ID)
	id, err := xen.ParseDomID(spec)
	switch {
	case spec == "self", err == nil && id == f.cfg.Domain.ID:
		return target{cid: vsock.CIDSelf, owner: &services.Caller{CID: self, Name: f.cfg.Name}}, nil
	case err == nil && f.isBackend(id):
		return target{cid: vsock.CIDBackend}, nil
	case err == nil:
		return target{cid: uint32(id), owner: &services.Caller{CID: vsock.CIDOf(id)}}, nil
	}
	return target{}, message(ErrUnknownDomain, fmt.Errorf(
		"%w: %.64q (a frontend knows ids, self and @backend; names are known in the backend's domain)",
		toolstack.ErrNoDomain, spec))
}

// resolve asks the directory by name or uuid, for there they are known. What
// this domain knows besides, the directory tells by the CID.
func (f *frontend) resolve(ctx context.Context, directory *discovery.Client, name, spec string) (discovery.Record, error) {
	cid, ok := f.cid(spec)
	if !ok {
		return directory.Resolve(ctx, name, spec)
	}
	if err := services.CheckName(name); err != nil {
		return discovery.Record{}, varlink.Invalid("name")
	}
	all, _, err := directory.List(ctx, discovery.Filter{Name: name})
	if err != nil {
		return discovery.Record{}, err
	}
	found := slices.DeleteFunc(all, func(r discovery.Record) bool { return r.Name != name || r.CID != cid })
	switch len(found) {
	case 0:
		return discovery.Record{}, discovery.ErrServiceNotFound
	case 1:
		return found[0], nil
	}
	return discovery.Record{}, message(ErrAmbiguousDomain, fmt.Errorf(
		"%.64q is the backend's domain and a frontend of its own, and both have that service", spec))
}

// cid is the CID of a domain that is named by id, self or @backend.
func (f *frontend) cid(spec string) (cid uint32, ok bool) {
	if spec == "self" {
		return vsock.CIDOf(f.cfg.Domain.ID), true
	}
	if id, err := xen.ParseDomID(spec); err == nil {
		return vsock.CIDOf(id), true
	}
	for _, p := range f.stack.Peers() {
		if spec == "@backend" && p.Backend {
			return vsock.CIDOf(p.Domain), true
		}
	}
	return 0, false
}

// isBackend reports whether id is the domain at the other end of the front link.
func (f *frontend) isBackend(id xen.DomID) bool {
	for _, p := range f.stack.Peers() {
		if p.Backend && p.Domain == id {
			return true
		}
	}
	return false
}
