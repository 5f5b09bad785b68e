package payload

import (
	"context"
	"net"
	"sync"

	"xvsock/services"
	"xvsock/splice"
)

// door is the accepting half of a payload. Connections go on when it is shut, so that
// a target that takes no more of them keeps those that it has; they end with the
// service.
type door struct {
	acceptor services.Acceptor

	mu     sync.Mutex
	newest *opening
}

// opening is the time from one Serve's begin to its end.
type opening struct {
	listener net.Listener

	mu     sync.Mutex
	reason error
}

// init sets the door up for a service that handles connections by handle.
func (d *door) init(c Config, handle func(context.Context, net.Conn, services.Caller)) {
	d.acceptor = services.Acceptor{
		Handle:    handle,
		Identify:  c.Identify,
		PerDomain: c.PerDomain,
		Total:     c.Max,
		Outlive:   true,
		Cut:       splice.Cut,
		Log:       c.Log,
	}
}

// Counts implements services.Counter.
func (d *door) Counts() (open, served, refused, panics uint64) { return d.acceptor.Counts() }

// Close implements io.Closer: it ends the connections that Serve left.
func (d *door) Close() error { return d.acceptor.Close() }

// open begins an opening.
func (d *door) open(l net.Listener) *opening {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.newest = &opening{listener: l}
	return d.newest
}

// current is the opening that a connection came in by.
func (d *door) current() *opening {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.newest
}

// serve accepts until ctx is done, which gives nil and ends all connections, or the
// opening is shut, which gives the reason.
func (d *door) serve(ctx context.Context, o *opening) error {
	err := d.acceptor.Serve(ctx, o.listener)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil && o.reason != nil {
		return o.reason
	}
	return err
}

// shut ends an opening. The first reason stays.
func (o *opening) shut(reason error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.reason == nil {
		o.reason = reason
		o.listener.Close()
	}
}
