package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"xvsock/link"
	"xvsock/manager/client"
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
	cfg = cfg.withDefaults()
	f := &frontend{}
	f.peers = client.New(client.Config{
		Domain: cfg.Domain, Link: cfg.Link, Log: cfg.Log, Changed: func() { f.locals.change() },
	})
	f.daemon = newDaemon(cfg, f, vsock.Config{Guard: f.peers, Broker: f.peers})
	own := &ownDirectory{}
	own.renew(f)
	opt := f.cfg.Link
	opt.Detached = f.peers.Forget
	front := link.NewFront(cfg.Domain, opt)
	return f.run(ctx, f, own, nil, func(ctx context.Context) error {
		err := f.live(ctx, life{
			links: func(ctx context.Context) error { return front.Run(ctx, f.use) },
			lose:  f.lose,
			renew: func(toolstack.Domain) { own.renew(f) },
		})
		return errors.Join(err, f.peers.Close())
	})
}

// frontend is the daemon of a frontend's domain.
type frontend struct {
	*daemon
	peers *client.Client
	// last is the backend that the front link led to last; nil before the first, and
	// the first after a resume.
	last atomic.Pointer[xen.DomID]
}

// who implements role: a peer by what the manager has told of it. Of the backend's
// domain nobody tells a frontend the name.
func (f *frontend) who(c *vsock.Conn) (services.Caller, bool) {
	caller := services.Caller{Domain: uint16(c.Peer()), Generation: c.LinkSerial()}
	switch peer, known := f.peers.Peer(c.Peer()); {
	case c.Peer() == f.cfg.Domain.ID():
		caller.Name = f.name()
	case known && peer.Serial == c.LinkSerial():
		caller.Name, caller.UUID = peer.Name, peer.UUID
	}
	return caller, true
}

// sees implements role.
func (f *frontend) sees(c services.Caller, port uint32) bool {
	return f.visible(c, discovery.Record{Port: port})
}

// commands implements role: the domain of the backend, the one with the toolstack,
// and this domain itself.
func (f *frontend) commands(c services.Caller) bool {
	id := xen.DomID(c.Domain)
	return id == 0 || id == f.cfg.Domain.ID() || f.isBackend(id)
}

// neighbours implements role: the backend, and whom the manager has told of.
func (f *frontend) neighbours() []neighbour {
	var all []neighbour
	if last := f.last.Load(); last != nil {
		all = append(all, neighbour{id: *last, backend: true})
	}
	for _, p := range f.peers.Peers() {
		all = append(all, neighbour{id: p.Domain, name: p.Name})
	}
	return all
}

// gone implements role.
func (f *frontend) gone(id xen.DomID) bool {
	if last := f.last.Load(); last != nil && *last == id {
		return false
	}
	return !f.peers.Linked(id)
}

// lose forgets all other domains: after a resume their ids mean others.
func (f *frontend) lose() {
	f.last.Store(nil)
	f.locals.forget()
	f.peers.Lose()
}

// visible reports whether a caller may know of a service of this domain: a peer of
// what it may connect to; the backend and this domain itself of everything.
func (f *frontend) visible(c discovery.Caller, r discovery.Record) bool {
	peer := xen.DomID(c.Domain)
	return peer == f.cfg.Domain.ID() || f.isBackend(peer) || f.peers.Allowed(peer, r.Port)
}

// use runs the connections of the front link, and meanwhile speaks with the manager
// and tells the backend's directory what this domain offers.
func (f *frontend) use(ctx context.Context, l *link.Link) error {
	backend := l.Peer()
	f.last.Store(&backend)
	f.locals.change()
	ctx, cancel := context.WithCancel(ctx)
	var met sync.WaitGroup
	met.Go(func() {
		// Announcing ends with the conversation, which may end before it begins.
		var announcing sync.WaitGroup
		defer announcing.Wait()
		defer cancel()
		if err := f.peers.Join(ctx, f.stack, l, func() {
			announcing.Go(func() { f.announce(ctx) })
		}); err != nil && ctx.Err() == nil {
			f.log.Info("no conversation with the manager", "error", err)
		}
	})
	err := f.stack.Serve(l, vsock.ToBackend, nil)
	cancel()
	met.Wait()
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

// target resolves what a person calls a domain: this one, the backend, an id, or
// the name or uuid of a peer, as the manager told it.
func (f *frontend) target(spec string) (target, error) {
	spec = byCID(spec)
	if spec == "@backend" {
		return target{cid: vsock.CIDBackend}, nil
	}
	if spec == "self" {
		return f.targetOf(toolstack.Domain{ID: f.cfg.Domain.ID()}), nil
	}
	var known []toolstack.Domain
	for _, p := range f.peers.Peers() {
		known = append(known, toolstack.Domain{ID: p.Domain, Name: p.Name, UUID: p.UUID})
	}
	d, err := toolstack.Pick(known, spec)
	if id, bad := xen.ParseDomID(spec); bad == nil && errors.Is(err, toolstack.ErrNoDomain) {
		d, err = toolstack.Domain{ID: id}, nil
	}
	switch {
	case errors.Is(err, toolstack.ErrAmbiguous):
		return target{}, message(ErrAmbiguousDomain, err)
	case err != nil:
		return target{}, message(ErrUnknownDomain, fmt.Errorf(
			"%w (a frontend knows ids, self, @backend, and those whom policy lets it reach, or lets reach it)", err))
	}
	return f.targetOf(d), nil
}

// targetOf is how to reach a domain, and who it is as far as this one knows.
func (f *frontend) targetOf(d toolstack.Domain) target {
	switch {
	case d.ID == f.cfg.Domain.ID():
		return target{cid: vsock.CIDSelf, owner: &services.Caller{CID: uint32(d.ID), Name: f.name()}}
	case f.isBackend(d.ID):
		return target{cid: vsock.CIDBackend}
	}
	return target{cid: uint32(d.ID), owner: &services.Caller{CID: vsock.CIDOf(d.ID), Name: d.Name, UUID: d.UUID}}
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
	spec = byCID(spec)
	if spec == "self" {
		return vsock.CIDOf(f.cfg.Domain.ID()), true
	}
	if id, err := xen.ParseDomID(spec); err == nil {
		return vsock.CIDOf(id), true
	}
	for _, p := range f.stack.Peers() {
		if spec == "@backend" && p.Kind == vsock.ToBackend {
			return vsock.CIDOf(p.Domain), true
		}
	}
	return 0, false
}

// isBackend reports whether id is the domain at the other end of the front link.
func (f *frontend) isBackend(id xen.DomID) bool {
	for _, p := range f.stack.Peers() {
		if p.Kind == vsock.ToBackend && p.Domain == id {
			return true
		}
	}
	return false
}
