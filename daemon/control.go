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
	"xvsock/toolstack"
	"xvsock/vsock"
	"xvsock/xen"
)

// The methods of the control socket.
const (
	ControlInterface = "org.xvsock.Control"
	MethodStatus     = ControlInterface + ".Status"
	MethodServices   = ControlInterface + ".Services"
	MethodResolve    = ControlInterface + ".Resolve"
	MethodPing       = ControlInterface + ".Ping"
	MethodShutdown   = ControlInterface + ".Shutdown"
)

// Errors that the control socket answers with.
var (
	ErrUnknownDomain   = &varlink.Error{Name: ControlInterface + ".UnknownDomain"}
	ErrAmbiguousDomain = &varlink.Error{Name: ControlInterface + ".AmbiguousDomain"}
	ErrFailed          = &varlink.Error{Name: ControlInterface + ".Failed"}
)

// controlInterface describes the control socket in the language of Varlink.
const controlInterface = `# The daemon of a domain, for the domain's own root.
interface org.xvsock.Control

type Link (domain: int, name: string, uuid: string, backend: bool, up: bool, connections: int, pages: int)
type Service (domain: string, uuid: string, name: string, port: int, state: string, cid: ?int, txt: ?[string]string)

# role is frontend or backend; uptime is in seconds.
method Status() -> (role: string, domain: int, name: string, version: string, uptime: float, goroutines: int, links: []Link)

# Without a domain: everything that the backend's directory shows this domain.
method Services(domain: ?string) -> (services: []Service)
method Resolve(name: string, domain: ?string) -> (service: Service)

# Moves bytes through the echo service of a domain and compares; seconds is how
# long that took, connect included.
method Ping(domain: string, bytes: int) -> (bytes: int, seconds: float)

# Ends the domain whose PID 1 the daemon is; answered before it does.
method Shutdown(reboot: bool) -> ()

error UnknownDomain (message: string)
error AmbiguousDomain (message: string)
error Failed (message: string)
`

// Status is the answer to MethodStatus.
type Status struct {
	Role    string  `json:"role"`
	Domain  uint16  `json:"domain"`
	Name    string  `json:"name"`
	Version string  `json:"version"`
	Uptime  float64 `json:"uptime"` // seconds
	// Goroutines is how many goroutines the daemon has: steady when idle.
	Goroutines int    `json:"goroutines"`
	Links      []Link `json:"links"`
}

// Link is one link, or one frontend whose link is not up.
type Link struct {
	Domain      uint16 `json:"domain"`
	Name        string `json:"name"`
	UUID        string `json:"uuid"`
	Backend     bool   `json:"backend"`
	Up          bool   `json:"up"`
	Connections int    `json:"connections"`
	Pages       int    `json:"pages"` // granted by this side
}

// ServicesArgs are the parameters of MethodServices.
type ServicesArgs struct {
	Domain string `json:"domain,omitempty"` // name, uuid, id, @backend or self
}

// ServicesReply is the answer to MethodServices.
type ServicesReply struct {
	Services []discovery.Record `json:"services"`
}

// ResolveArgs are the parameters of MethodResolve.
type ResolveArgs struct {
	Name   string `json:"name"`
	Domain string `json:"domain,omitempty"`
}

// ResolveReply is the answer to MethodResolve.
type ResolveReply struct {
	Service discovery.Record `json:"service"`
}

// PingArgs are the parameters of MethodPing.
type PingArgs struct {
	Domain string `json:"domain"`
	Bytes  int64  `json:"bytes"`
}

// PingReply is the answer to MethodPing.
type PingReply struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// ShutdownArgs are the parameters of MethodShutdown.
type ShutdownArgs struct {
	Reboot bool `json:"reboot"`
}

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
type names func(spec string) (target, error)

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
		Version: c.cfg.Version, Uptime: time.Since(c.started).Seconds(), Goroutines: runtime.NumGoroutine(), Links: []Link{},
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
		if _, rest := up[p.Domain]; rest && p.Domain != c.cfg.Domain.ID {
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
	var reply ServicesReply
	err := c.ask(ctx, args.Domain, func(ctx context.Context, client *discovery.Client) (err error) {
		reply.Services, _, err = client.List(ctx, discovery.Filter{})
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
		reply.Service, err = client.Resolve(ctx, args.Name, args.Domain)
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
	to, err := c.names(domain)
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

// frontNames resolves in a frontend, which knows no names but its own.
func (d *daemon) frontNames(spec string) (target, error) {
	switch spec {
	case "@backend":
		return target{cid: vsock.CIDBackend}, nil
	case "self":
		return target{cid: vsock.CIDSelf, owner: &services.Caller{CID: uint32(d.cfg.Domain.ID), Name: d.cfg.Name}}, nil
	}
	if id, err := xen.ParseDomID(spec); err == nil {
		return target{cid: uint32(id), owner: &services.Caller{CID: uint32(id)}}, nil
	}
	return target{}, message(ErrUnknownDomain, fmt.Errorf(
		"%w: %.64q (a frontend knows ids, self and @backend; names are known in the backend's domain)",
		toolstack.ErrNoDomain, spec))
}

// names resolves in the backend, by what the toolstack wrote of its frontends.
func (b *backend) names(spec string) (target, error) {
	if spec == "self" || spec == "@backend" {
		return target{cid: vsock.CIDSelf}, nil
	}
	all := []toolstack.Domain{{ID: b.cfg.Domain.ID, Name: b.cfg.Name}}
	for _, f := range b.manager.Frontends() {
		all = append(all, toolstack.Domain{ID: f.Domain, Name: f.Name, UUID: f.UUID})
	}
	d, err := toolstack.Pick(all, spec)
	switch {
	case errors.Is(err, toolstack.ErrAmbiguous):
		return target{}, message(ErrAmbiguousDomain, err)
	case err != nil:
		return target{}, message(ErrUnknownDomain, fmt.Errorf("%w, or is not attached to this backend", err))
	case d.ID == b.cfg.Domain.ID:
		return target{cid: vsock.CIDSelf}, nil
	}
	return target{cid: uint32(d.ID), owner: &services.Caller{CID: uint32(d.ID), Name: d.Name, UUID: d.UUID}}, nil
}
