package daemon

import (
	"context"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"xvsock/bridge/afvsock"
	"xvsock/bridge/door"
	"xvsock/config"
	"xvsock/mux"
	"xvsock/vsock"
	"xvsock/xen"
)

// Bridge is what the domain's other programs reach this daemon by. The zero value is
// nothing.
type Bridge struct {
	// Open makes an instance of the kernel's AF_VSOCK; nil: there is no kernel. Its
	// sockets stay off as well if the settings say so.
	Open afvsock.Opener
	// Door is the path of the unix socket; empty: none.
	Door string
}

// neighbour is a domain that this one may have to do with.
type neighbour struct {
	id      xen.DomID
	name    string // by the manager's word; may be empty, and another's too
	backend bool   // of this domain
}

// locals are the domain's other programs: at the kernel's sockets and at the door. It
// is made before the Stack, whose Locals it is.
type locals struct {
	self    func() xen.DomID
	off     string          // why kernel is nil
	path    string          // of the door
	kernel  *afvsock.Switch // nil: off
	door    *door.Server    // nil: none
	log     *slog.Logger
	closed  atomic.Pointer[error] // why the door is
	once    sync.Once
	open    chan struct{} // closed once the door is, or will not be
	changed chan struct{} // capacity 1: the neighbours may be others
}

var _ vsock.Locals = (*locals)(nil)

// newLocals makes what cfg asks for. resolve is what the door asks for addresses; gone
// reports whether nothing is allowed with a domain any more.
func newLocals(cfg Config, resolve door.Resolver, gone func(xen.DomID) bool) *locals {
	l := &locals{path: cfg.Bridge.Door, self: cfg.Domain.ID, log: cfg.Log, open: make(chan struct{}), changed: make(chan struct{}, 1)}
	denied := deny(cfg.Settings.Deny)
	switch {
	case cfg.Bridge.Open == nil:
		l.off = "there is no kernel whose sockets these could be"
	case !bool(cfg.Settings.Bridge):
		l.off = "by its setting bridge=off"
	default:
		l.kernel = afvsock.New(afvsock.Config{
			Open: cfg.Bridge.Open, Deny: denied, Gone: gone, Max: maxInstances(systemMemory()), Log: cfg.Log,
		})
	}
	if cfg.Bridge.Door != "" {
		l.door = door.New(door.Config{
			Path: cfg.Bridge.Door, Mode: fs.FileMode(cfg.Settings.DoorMode), Group: cfg.Settings.DoorGroup,
			Resolve: resolve, Deny: denied, Total: maxStreams(systemMemory()), Ready: l.settle, Log: cfg.Log,
		})
	} else {
		l.settle()
	}
	return l
}

// An instance takes this process up to 1.3 MiB, and the kernel 0.3 MiB, and all of them
// are to take no more than a 16th of the domain's memory if all was used at some time,
// which is rare (rule R7).
const (
	instanceMemory  = 1664 << 10
	memoryShare     = 16
	fewestInstances = 8
	mostInstances   = 256
)

// A stream at the door takes buffers for both ways, here and in the kernel; those that
// programs make, and those that come in, are to take no more than a 16th each.
const (
	streamMemory  = 128 << 10
	fewestStreams = 64
	mostStreams   = 1024
)

// maxInstances is how many peers a domain with so much memory may have at the kernel's
// sockets.
func maxInstances(memory int64) int {
	return int(min(max(memory/memoryShare/instanceMemory, fewestInstances), mostInstances))
}

// maxStreams is how many connections it may have through the door, each way.
func maxStreams(memory int64) int {
	return int(min(max(memory/memoryShare/streamMemory, fewestStreams), mostStreams))
}

// Acceptor implements vsock.Locals.
func (l *locals) Acceptor(port uint32) func(*vsock.Conn) bool {
	if l.door == nil {
		return nil
	}
	return l.door.Acceptor(port)
}

// Relay implements vsock.Locals.
func (l *locals) Relay(peer xen.DomID) mux.Relay {
	if l.kernel == nil {
		return nil
	}
	return l.kernel.Relay(peer)
}

// opened waits until programs find the door, or never will; false: ctx has ended.
func (l *locals) opened(ctx context.Context) bool {
	select {
	case <-l.open:
		return true
	case <-ctx.Done():
		return false
	}
}

// change says that the neighbours may be others. It does not wait.
func (l *locals) change() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// forget has the kernel take no connections until it is known again whose they are.
func (l *locals) forget() {
	if l.kernel != nil {
		l.kernel.Forget()
	}
}

// run serves the programs until ctx ends. neighbours lists the domains that there may
// be connections with.
func (l *locals) run(ctx context.Context, stack *vsock.Stack, neighbours func() []neighbour) error {
	group, ctx := errgroup.WithContext(ctx)
	if l.kernel != nil {
		group.Go(func() error { l.kernel.Run(ctx, stack); return nil })
	}
	if l.door != nil {
		group.Go(func() error { l.serveDoor(ctx, stack); return nil })
	}
	group.Go(func() error { return l.follow(ctx, neighbours) })
	return group.Wait()
}

// follow tells kernel and door of the neighbours until ctx ends. Where there is neither,
// nobody is asked who they are: of many that costs something, each time one of them
// changes.
func (l *locals) follow(ctx context.Context, neighbours func() []neighbour) error {
	for {
		if l.kernel != nil || l.door != nil {
			l.meet(neighbours())
		}
		select {
		case <-l.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serveDoor serves the door until ctx ends. A domain goes on without one: all else does
// not need it.
func (l *locals) serveDoor(ctx context.Context, stack *vsock.Stack) {
	err := l.door.Run(ctx, stack)
	if err == nil {
		return
	}
	l.log.Error("programs reach no domains through the unix socket; everything else works", "reason", err)
	l.closed.Store(&err)
	l.settle()
}

// settle says that the door is open, or will not be.
func (l *locals) settle() { l.once.Do(func() { close(l.open) }) }

// meet lets the programs reach those domains, and no others.
func (l *locals) meet(all []neighbour) {
	self := l.self()
	kernel := []afvsock.Peer{{CID: vsock.CIDSelf, Domain: self}}
	var doors []door.Peer
	for _, n := range all {
		if n.backend {
			kernel = append(kernel, afvsock.Peer{CID: vsock.CIDBackend, Domain: n.id})
		}
		if n.id == self {
			continue // CIDSelf is its CID
		}
		kernel = append(kernel, afvsock.Peer{CID: vsock.CIDOf(n.id), Domain: n.id})
		doors = append(doors, door.Peer{ID: n.id, Name: n.name})
	}
	if l.kernel != nil {
		l.kernel.SetPeers(kernel)
	}
	if l.door != nil {
		l.door.SetPeers(doors)
	}
}

// describe says how programs reach the daemon.
func (l *locals) describe(s *Status) {
	s.AFVsock = &AFVsock{Reason: l.off, Instances: []Instance{}}
	if l.kernel != nil {
		now := l.kernel.Status()
		s.AFVsock.On, s.AFVsock.Reason, s.AFVsock.LeftOut = now.On, now.Why, now.LeftOut
		for _, i := range now.Instances {
			s.AFVsock.Instances = append(s.AFVsock.Instances, Instance{
				CID: i.CID, Domain: uint16(i.Domain), State: i.State, Why: i.Why, Begun: i.Conns,
			})
		}
	}
	if l.door != nil {
		now := l.door.Status()
		s.Door = &Door{Path: l.path, On: true, Programs: len(now.Clients), Refused: now.Refused}
		if why := l.closed.Load(); why != nil {
			s.Door.On, s.Door.Reason = false, (*why).Error()
		}
	}
}

// deny reports of a port whether the domain's programs may not connect to it.
func deny(ranges []config.PortRange) func(port uint32) bool {
	return func(port uint32) bool {
		return slices.ContainsFunc(ranges, func(r config.PortRange) bool { return r.First <= port && port <= r.Last })
	}
}
