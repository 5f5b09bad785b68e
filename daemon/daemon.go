// Package daemon is the one process of a domain that owns its links: it joins the
// domain's socket stack, its services and its control socket to a front link, as
// the frontend or as the backend.
//
// PID 1 of a service domain, `xvsock domain`, `xvsock backend` and the simulated
// host all run what stands here, on the platform that they were given.
package daemon

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"xvsock/config"
	"xvsock/link"
	"xvsock/manager"
	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/services/logs"
	"xvsock/services/varlink"
	"xvsock/vsock"
	"xvsock/xen"
)

// Config describes a daemon.
type Config struct {
	Domain *link.Domain
	// Name is the domain's name in its own answers: a label, not an identity.
	Name string
	// Version of the binary, for GetInfo and status.
	Version string
	// Services are what the domain offers beside those that every domain has.
	Services []Offer
	// Settings are what the domain was told, for who asks; and Problems what was
	// wrong with them.
	Settings config.Config
	Problems []config.Problem
	// Logs is what port 6 shows; nil: an empty one.
	Logs *logs.Buffer
	// Level is the least level that is logged; nil if nobody may change it.
	Level *slog.LevelVar
	// Memory bounds what connections may hold unread, in bytes; 0 is an eighth
	// of the domain's memory, and it is never less than 8 MiB.
	Memory int64
	Link   link.Options
	// Rules is where a backend's policy comes from; nil: all that is not built in
	// is denied.
	Rules Rules
	// Budgets are what a backend allows each of its frontends; what is 0 is as
	// usual.
	Budgets manager.Budgets
	// Control is where the control socket listens; nil: none.
	Control net.Listener
	// Bridge is how other programs of the domain reach this daemon.
	Bridge Bridge
	// Shutdown begins the end of the domain; nil if this process is not its PID
	// 1. It does not wait.
	Shutdown func(reboot bool)
	// Ready is called once the services listen. The link may come later.
	Ready func()
	// Resumed is called when the domain has come back from a suspend, as another one to
	// xenstore; nil: nothing is to be done. It does not wait for long.
	Resumed func()
	Log     *slog.Logger // nil: none
}

// daemon is what a frontend's and a backend's daemon have in common.
type daemon struct {
	cfg        Config
	log        *slog.Logger
	stack      *vsock.Stack
	registry   *services.Registry
	supervisor *services.Supervisor
	locals     *locals
	started    time.Time
	renamed    atomic.Pointer[string] // the name since the last resume; see name
}

// withDefaults fills in what was left out.
func (cfg Config) withDefaults() Config {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Ready == nil {
		cfg.Ready = func() {}
	}
	if cfg.Resumed == nil {
		cfg.Resumed = func() {}
	}
	if cfg.Link.Ledger == nil {
		cfg.Link.Ledger = link.NewLedger()
	}
	if cfg.Memory == 0 {
		cfg.Memory = systemMemory() / 8
	}
	if cfg.Logs == nil {
		cfg.Logs = logs.NewBuffer(0)
	}
	cfg.Link.Log = cfg.Log
	cfg.Link.NoPoll = cfg.Link.NoPoll || !bool(cfg.Settings.Poll)
	return cfg
}

// newDaemon makes the stack and the registry. Of stack is taken what a frontend's
// and a backend's differ in.
func newDaemon(cfg Config, r role, stack vsock.Config) *daemon {
	d := &daemon{cfg: cfg, log: cfg.Log, started: time.Now(), registry: services.NewRegistry()}
	d.locals = newLocals(cfg, func(ctx context.Context, domain, port string) (vsock.Addr, error) {
		return d.address(ctx, r, domain, port)
	}, func(id xen.DomID) bool { return r.gone(id) })
	stack.Self, stack.Memory, stack.Log, stack.Locals = cfg.Domain.ID(), cfg.Memory, cfg.Log, d.locals
	d.stack = vsock.NewStack(stack)
	d.supervisor = services.NewSupervisor(services.Config{
		Registry: d.registry, Log: d.log,
		Listen: func(port uint32) (net.Listener, error) { return d.stack.Listen(port) },
	})
	d.raiseGrantLimit(stack.Backend)
	return d
}

// run runs the services, the control socket and the link until ctx ends or one
// of them fails. own are the methods of the control socket that the other role has
// not; links keeps the links.
func (d *daemon) run(ctx context.Context, r role, dir discovery.Directory, own varlink.Methods,
	links func(context.Context) error) error {
	if err := d.addServices(r, dir); err != nil {
		return err
	}
	control := d.control(r)
	maps.Copy(control, own)
	told := ctx
	group, ctx := errgroup.WithContext(ctx)
	stopped := make(chan struct{})
	group.Go(func() error {
		defer close(stopped)
		return d.supervisor.Serve(ctx)
	})
	// At the end the services stop first, then the connections, and then the links:
	// what was written last is to be read, and the other sides are to hear why. The
	// domain's programs lose theirs with all others, by the Stack's end: what closes
	// one before would say to the other side that it was over.
	linked, unlink := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return links(linked) })
	group.Go(func() error { return d.locals.run(linked, d.stack, r.neighbours) })
	if l := d.cfg.Control; l != nil {
		group.Go(func() error { return d.serveControl(ctx, l, control) })
	}
	group.Go(func() error {
		<-ctx.Done()
		<-stopped
		defer unlink()
		return d.stack.Close()
	})
	if err := d.serving(ctx); err == nil && d.locals.opened(ctx) {
		d.cfg.Ready()
	}
	// Told to end, the parts say so in their own words; what else one of them
	// says then, such as a service that does not stop, is an error.
	err := group.Wait()
	if told.Err() != nil && (errors.Is(err, context.Cause(told)) || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

// serving waits until the services listen for the first time, but for those that may
// come later.
func (d *daemon) serving(ctx context.Context) error {
	late := make(map[string]bool)
	for _, o := range d.cfg.Services {
		late[o.Info.Name] = o.Late
	}
	for {
		entries, revision := d.registry.List()
		waiting := false
		for _, e := range entries {
			waiting = waiting || e.State != services.Serving && !late[e.Name]
		}
		if !waiting {
			return nil
		}
		if _, _, err := d.registry.Next(ctx, revision, 1); err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// info is what the daemon says about itself.
func (d *daemon) info() varlink.Info {
	return varlink.Info{Vendor: "xvsock", Product: "xvsock", Version: d.cfg.Version}
}

// callerOf tells who made a connection by the link that it came in on: who does,
// or says that it is not to be served.
func callerOf(who func(*vsock.Conn) (services.Caller, bool)) services.Identify {
	return func(c net.Conn) (services.Caller, bool) {
		conn, ok := c.(*vsock.Conn)
		if !ok {
			return services.Caller{}, false
		}
		caller, ok := who(conn)
		caller.CID = vsock.CIDOf(conn.Peer())
		caller.Port = conn.RemoteAddr().(vsock.Addr).Port
		return caller, ok
	}
}

// serveControl serves the control socket.
func (d *daemon) serveControl(ctx context.Context, l net.Listener, h varlink.Handler) error {
	server := varlink.Server{Log: d.log}
	acceptor := services.Acceptor{
		PerDomain: 64, Log: d.log,
		// Who may connect was decided by the file's rights.
		Identify: func(net.Conn) (services.Caller, bool) {
			return services.Caller{Domain: uint16(d.cfg.Domain.ID())}, true
		},
		Handle: func(ctx context.Context, c net.Conn, _ services.Caller) {
			if err := server.Serve(ctx, c, h); err != nil && ctx.Err() == nil {
				d.log.Debug("control connection ended", "error", err)
			}
		},
	}
	return acceptor.Serve(ctx, l)
}
