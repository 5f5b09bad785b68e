package manager

import (
	"context"
	"errors"

	"xvsock/link"
	"xvsock/vsock"
	"xvsock/xenbus"
)

// frontend is one attached frontend. Manager.mu guards its fields.
type frontend struct {
	m      *Manager
	who    Identity
	detach context.CancelCauseFunc

	link  *link.Link  // nil while it is down
	port1 *vsock.Conn // the frontend's connection to port 1, once it is there
}

// run serves the frontend until it is detached, its domain is gone, or the
// Manager stops.
func (f *frontend) run(ctx context.Context) {
	m, id := f.m, f.who.Domain
	defer m.forget(id)
	defer f.detach(nil)
	err := link.NewBack(m.cfg.Domain, id, m.cfg.Link).Run(ctx, f.use)
	switch {
	case errors.Is(err, xenbus.ErrGone):
		m.log.Info("frontend's domain is gone", "domain", id)
		m.removeDevice(ctx, id)
	case errors.Is(err, xenbus.ErrDetached), context.Cause(ctx) == xenbus.ErrDetached:
		m.log.Info("frontend was detached", "domain", id)
	case ctx.Err() == nil:
		m.log.Error("stop serving frontend", "domain", id, "error", err)
	}
}

// use runs the connections of the front link while it is up.
func (f *frontend) use(_ context.Context, l *link.Link) error {
	who := f.setLink(l, l.Generation())
	f.m.cfg.Up(who, l)
	err := f.m.cfg.Stack.Serve(l, false)
	f.setLink(nil, 0)
	f.m.cfg.Down(who, l)
	return err
}

// setLink notes which link the frontend has, and returns who the frontend is.
// The connection to port 1 belongs to the link before.
func (f *frontend) setLink(l *link.Link, generation uint64) Identity {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.link, f.port1, f.who.Generation = l, nil, generation
	return f.who
}
