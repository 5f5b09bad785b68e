package daemon

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"xvsock/manager"
	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/services/varlink"
	"xvsock/vsock"
	"xvsock/xen"
)

// queryTimeout bounds what the control socket asks of another domain.
const queryTimeout = 10 * time.Second

// maxHostRecords is the most services that the host's directory may answer with.
const maxHostRecords = 1 << 16

// target is a domain that a person named.
type target struct {
	cid uint32
	// owner is who answers there as far as this daemon knows; what the domain
	// says of itself does not count. It is nil for the backend, which answers
	// for the whole host.
	owner *services.Caller
}

// names resolves what a person calls a domain.
type names interface {
	// target is whom to ask.
	target(spec string) (target, error)
	// resolve finds a service of that domain in the backend's directory.
	resolve(ctx context.Context, directory *discovery.Client, name, spec string) (discovery.Record, error)
}

// control returns the handler of the control socket. m is nil for a frontend.
func (d *daemon) control(names names, m *manager.Manager) varlink.Handler {
	c := &control{daemon: d, names: names, manager: m}
	methods := varlink.Methods{
		MethodStatus:   c.status,
		MethodServices: c.services,
		MethodResolve:  c.resolve,
		MethodPing:     c.ping,
	}
	if d.cfg.Shutdown != nil {
		methods[MethodShutdown] = c.shutdown
	}
	methods.Describe(d.info(), map[string]string{ControlInterface: controlInterface})
	return methods
}

// control answers at the control socket.
type control struct {
	*daemon
	names   names
	manager *manager.Manager
}

// status answers MethodStatus.
func (c *control) status(context.Context, *varlink.Call) (any, error) {
	s := Status{
		Role: "frontend", Domain: uint16(c.cfg.Domain.ID), Name: c.cfg.Name,
		Version: c.cfg.Version, Uptime: time.Since(c.started).Seconds(), Goroutines: runtime.NumGoroutine(),
		Watches: c.cfg.Domain.Store.Watches(), Links: []Link{},
	}
	up := make(map[xen.DomID]vsock.Peer)
	for _, p := range c.stack.Peers() {
		up[p.Domain] = p
	}
	if c.manager != nil {
		s.Role = "backend"
		for _, f := range c.manager.Frontends() {
			p := up[f.Domain]
			delete(up, f.Domain)
			s.Links = append(s.Links, Link{
				Domain: uint16(f.Domain), Name: f.Name, UUID: f.UUID, Up: f.Up,
				Connections: p.Conns, Pages: p.Pages,
			})
		}
	}
	for _, p := range c.stack.Peers() {
		if _, rest := up[p.Domain]; rest {
			s.Links = append(s.Links, Link{
				Domain: uint16(p.Domain), Backend: p.Backend, Up: true, Connections: p.Conns, Pages: p.Pages,
			})
		}
	}
	return s, nil
}

// services answers MethodServices.
func (c *control) services(ctx context.Context, call *varlink.Call) (any, error) {
	var args ServicesArgs
	if err := call.Decode(&args); err != nil {
		return nil, err
	}
	reply := ServicesReply{Services: []discovery.Record{}}
	err := c.ask(ctx, args.Domain, func(ctx context.Context, client *discovery.Client) error {
		list, _, err := client.List(ctx, discovery.Filter{})
		reply.Services = append(reply.Services, list...)
		return err
	})
	return reply, err
}

// resolve answers MethodResolve.
func (c *control) resolve(ctx context.Context, call *varlink.Call) (any, error) {
	var args ResolveArgs
	if err := call.Decode(&args); err != nil {
		return nil, err
	}
	var reply ResolveReply
	err := c.ask(ctx, "", func(ctx context.Context, client *discovery.Client) (err error) {
		if args.Domain == "" {
			reply.Service, err = client.Resolve(ctx, args.Name, "")
		} else {
			reply.Service, err = c.names.resolve(ctx, client, args.Name, args.Domain)
		}
		return err
	})
	return reply, err
}

// shutdown answers MethodShutdown.
func (c *control) shutdown(_ context.Context, call *varlink.Call) (any, error) {
	var args ShutdownArgs
	if err := call.Decode(&args); err != nil {
		return nil, err
	}
	c.cfg.Shutdown(args.Reboot)
	return nil, nil
}

// ask asks the discovery service of a domain; "" is the backend, whose directory
// is the host's.
func (c *control) ask(ctx context.Context, domain string, query func(context.Context, *discovery.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if domain == "" {
		domain = "@backend"
	}
	to, err := c.names.target(domain)
	if err != nil {
		return err
	}
	conn, err := c.stack.DialPrivileged(ctx, vsock.Addr{CID: to.cid, Port: services.PortDiscovery})
	if err != nil {
		return failed(fmt.Errorf("discovery of %q: %w", domain, err))
	}
	config := discovery.ClientConfig{Owner: to.owner}
	if to.owner == nil {
		config.MaxRecords = maxHostRecords
	}
	client := discovery.NewClient(conn, config)
	defer client.Close()
	return failed(query(ctx, client))
}

// failed turns an error into one that the caller is told; what is one already
// stays.
func failed(err error) error {
	var reply *varlink.Error
	if err == nil || errors.As(err, &reply) {
		return err
	}
	return message(ErrFailed, err)
}

// message is kind with err's text for its message.
func message(kind *varlink.Error, err error) error {
	return varlink.NewError(kind.Name, struct {
		Message string `json:"message"`
	}{err.Error()})
}
