package client

import (
	"xvsock/manager/policy"
	"xvsock/manager/port1"
	"xvsock/mux"
	"xvsock/vsock"
	"xvsock/xen"
)

// Admit implements vsock.Guard. With the backend everything is allowed: the
// backend's own Guard decides. With a peer it is what the manager has told of it,
// over the link that was made to that domain and to no earlier one with its id.
func (c *Client) Admit(r vsock.Request) (mux.Permit, mux.Reason) {
	allowed, reason := c.allowed(r)
	if reason != mux.ReasonNone || allowed == nil {
		return nil, reason
	}
	p, ok := c.meter.Admit(c.source(r), limits(allowed))
	if !ok {
		return nil, mux.ReasonBudget
	}
	return permit(p), mux.ReasonNone
}

// Review implements vsock.Guard.
func (c *Client) Review(r vsock.Request, held mux.Permit) (mux.Permit, mux.Reason) {
	allowed, reason := c.allowed(r)
	if reason != mux.ReasonNone {
		return nil, mux.ReasonRevoked
	}
	if allowed == nil {
		return held, mux.ReasonNone
	}
	p, _ := held.(*policy.Permit)
	return permit(c.meter.Move(p, c.source(r), limits(allowed))), mux.ReasonNone
}

// permit is p as mux holds it: what counts for nothing is nil there.
func permit(p *policy.Permit) mux.Permit {
	if p == nil {
		return nil
	}
	return p
}

// source is the domain that starts the connection.
func (c *Client) source(r vsock.Request) xen.DomID {
	if r.Incoming {
		return r.Peer
	}
	return c.cfg.Domain.ID()
}

// allowed finds the range that allows a connection, nil if none is needed, or why
// it is not allowed. It does not allocate.
func (c *Client) allowed(r vsock.Request) (*port1.Range, mux.Reason) {
	switch r.Kind {
	case vsock.ToBackend:
		return nil, mux.ReasonNone
	case vsock.ToFrontend:
		return nil, mux.ReasonUnreachable // a frontend has none
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[r.Peer]
	if p == nil || p.rec == nil || p.admits != r.Serial {
		return nil, mux.ReasonUnreachable
	}
	ranges := p.rec.Out
	if r.Incoming {
		ranges = p.rec.In
	}
	if len(ranges) == 0 {
		return nil, mux.ReasonUnreachable
	}
	if found := find(ranges, r.Port()); found != nil {
		return found, mux.ReasonNone
	}
	return nil, mux.ReasonDenied
}
