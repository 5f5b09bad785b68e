package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"syscall"
	"time"

	"xvsock/services"
	"xvsock/services/control"
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

// role is what the two kinds of daemon answer differently.
type role interface {
	// target is the domain that a person calls spec.
	target(spec string) (target, error)
	// resolve finds a service of that domain in the backend's directory.
	resolve(ctx context.Context, directory *discovery.Client, name, spec string) (discovery.Record, error)
	// neighbours are the domains that there may be connections with.
	neighbours() []neighbour
	// gone reports whether id is none of them. It is called with the lock of a session
	// held.
	gone(id xen.DomID) bool
	// describe fills in what is said of the links and, by a backend, of policy.
	describe(*Status)
	// who tells who made a connection, or that it is not to be served.
	who(*vsock.Conn) (services.Caller, bool)
	// sees reports whether a caller may know of this domain's service on port.
	sees(c services.Caller, port uint32) bool
	// commands reports whether a caller's root gives orders to this domain.
	commands(services.Caller) bool
}

// control returns the methods of the control socket that both kinds have.
func (d *daemon) control(role role) varlink.Methods {
	c := &controlSocket{daemon: d, role: role}
	methods := varlink.Methods{
		MethodStatus:   c.status,
		MethodServices: c.services,
		MethodResolve:  c.resolve,
		MethodPing:     c.ping,
		MethodAsk:      c.relay,
		MethodMetrics:  c.metrics,
		MethodBench:    c.bench,
	}
	// What port 4 offers to the toolstack, this domain's own root has too.
	maps.Copy(methods, (&orders{daemon: d, role: role}).methods())
	methods.Describe(d.info(), map[string]string{ControlInterface: controlInterface, control.Name: control.Interface})
	return methods
}

// controlSocket answers at the control socket.
type controlSocket struct {
	*daemon
	role role
	// measuring is held by the one that measures: two would measure each other.
	measuring sync.Mutex
}

// status answers MethodStatus.
func (c *controlSocket) status(_ context.Context, call *varlink.Call) (any, error) {
	return c.statusOf(c.role).answer(call, func(s Status) any { return s })
}

// statusOf is what the daemon is doing.
func (d *daemon) statusOf(r role) Status {
	s := Status{
		Domain: uint16(d.cfg.Domain.ID()), Name: d.name(),
		Version: d.cfg.Version, Uptime: time.Since(d.started).Seconds(), Goroutines: runtime.NumGoroutine(),
		Watches: d.cfg.Domain.Store.Watches(), Links: []Link{},
	}
	d.locals.describe(&s)
	r.describe(&s)
	return s
}

// services answers MethodServices.
func (c *controlSocket) services(ctx context.Context, call *varlink.Call) (any, error) {
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
func (c *controlSocket) resolve(ctx context.Context, call *varlink.Call) (any, error) {
	var args ResolveArgs
	if err := call.Decode(&args); err != nil {
		return nil, err
	}
	var reply ResolveReply
	err := c.ask(ctx, "", func(ctx context.Context, client *discovery.Client) (err error) {
		if args.Domain == "" {
			reply.Service, err = client.Resolve(ctx, args.Name, "")
		} else {
			reply.Service, err = c.role.resolve(ctx, client, args.Name, args.Domain)
		}
		return err
	})
	return reply, err
}

// ask asks the discovery service of a domain; "" is the backend, whose directory
// is the host's.
func (c *controlSocket) ask(ctx context.Context, domain string, query func(context.Context, *discovery.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if domain == "" {
		domain = "@backend"
	}
	to, err := c.role.target(domain)
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
	switch {
	case err == nil, errors.As(err, &reply):
		return err
	case errors.Is(err, syscall.EACCES):
		return message(ErrDenied, err)
	}
	return message(ErrFailed, err)
}

// message is kind with err's text for its message.
func message(kind *varlink.Error, err error) error {
	return varlink.NewError(kind.Name, struct {
		Message string `json:"message"`
	}{err.Error()})
}
