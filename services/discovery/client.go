package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"time"

	"xvsock/services"
	"xvsock/services/varlink"
)

// ErrPeer says that the other side's answer breaks a rule of the interface.
var ErrPeer = errors.New("bad answer of discovery")

const (
	maxInterfaces = 64               // that a peer may say it has
	replyTime     = 10 * time.Second // for the first reply, unless the context or the limits say otherwise
	listTime      = 30 * time.Second // for a whole listing, at most
)

// ClientConfig says what a Client takes from its peer.
type ClientConfig struct {
	// Owner, if set, is the domain at the other end, as the link tells. Its
	// name, UUID and CID replace whatever the answers say: a domain that
	// answers for itself has no word in who it is. It is nil for the
	// backend's directory.
	Owner *Caller
	// MaxRecords is the most records of an answer (0: services.MaxServices,
	// enough for one domain).
	MaxRecords int
	// Limits bounds the connection.
	Limits varlink.Limits
}

// Client asks a discovery service over one connection, one call at a time. An
// error reply is returned as a *varlink.Error, for errors.Is with the errors of
// this package; an answer that breaks a rule as an error that wraps ErrPeer or
// varlink.ErrMalformed, and then nothing of it is used.
type Client struct {
	varlink *varlink.Client
	owner   *Caller
	max     int
}

// NewClient returns a client that owns the connection.
func NewClient(conn net.Conn, c ClientConfig) *Client {
	c.Limits.Idle = cmp.Or(c.Limits.Idle, replyTime)
	return &Client{
		varlink: varlink.NewClient(conn, c.Limits),
		owner:   c.Owner,
		max:     cmp.Or(c.MaxRecords, services.MaxServices),
	}
}

// Close closes the connection.
func (c *Client) Close() error { return c.varlink.Close() }

// GetInfo returns what the server says about itself; it is an error if that is
// not fit to be shown.
func (c *Client) GetInfo(ctx context.Context) (varlink.Info, error) {
	var info varlink.Info
	if err := c.varlink.Call(ctx, varlink.GetInfo, nil, &info); err != nil {
		return varlink.Info{}, err
	}
	if len(info.Interfaces) > maxInterfaces {
		return varlink.Info{}, fmt.Errorf("%w: %d interfaces", ErrPeer, len(info.Interfaces))
	}
	for _, s := range append([]string{info.Vendor, info.Product, info.Version, info.URL}, info.Interfaces...) {
		if !showable(s) {
			return varlink.Info{}, fmt.Errorf("%w: text not fit to be shown", ErrPeer)
		}
	}
	return info, nil
}

// Resolve returns the one service of that name. The domain is a name or UUID,
// or "" if the service's name is enough.
func (c *Client) Resolve(ctx context.Context, name, domain string) (Record, error) {
	var out resolved
	if err := c.varlink.Call(ctx, methodResolve, Filter{name, domain}, &out); err != nil {
		return Record{}, err
	}
	r, err := c.accept(out.Service)
	if err == nil && r.Name != name {
		err = fmt.Errorf("%w: asked for %s, got %s", ErrPeer, name, r.Name)
	}
	return r, err
}

// Health returns the state of a service, services.Unknown if there is none.
func (c *Client) Health(ctx context.Context, name, domain string) (services.State, error) {
	var out health
	if err := c.varlink.Call(ctx, methodHealth, Filter{name, domain}, &out); err != nil {
		return "", err
	}
	if !out.State.Valid() && out.State != services.Unknown {
		return "", fmt.Errorf("%w: state %.32q", ErrPeer, out.State)
	}
	return out.State, nil
}

// List returns all services that match, and the revision to watch from.
func (c *Client) List(ctx context.Context, f Filter) ([]Record, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	var all []Record
	var revision uint64
	replies := 0
	for raw, err := range c.varlink.Stream(ctx, methodList, f) {
		if err != nil {
			return nil, 0, err
		}
		var l listing
		if err := varlink.UnmarshalGrowing(raw, &l); err != nil {
			return nil, 0, err
		}
		// Only the first reply may be empty: empty ones might have no end.
		if replies++; replies > 1 && len(l.Services) == 0 || len(all)+len(l.Services) > c.max {
			return nil, 0, fmt.Errorf("%w: more than %d services, or endless", ErrPeer, c.max)
		}
		revision = l.Revision
		for _, r := range l.Services {
			if r, err = c.accept(r); err != nil {
				return nil, 0, err
			}
			all = append(all, r)
		}
	}
	return all, revision, nil
}

// Watch yields changes for as long as ctx allows: from the whole state on for
// revision 0, else from that revision. An error is yielded last; ErrCompacted
// means to begin again from 0. The client can make no other call until the
// loop is left, and none after. The changes of an update are at most what fits
// in a message.
func (c *Client) Watch(ctx context.Context, revision uint64) iter.Seq2[Update, error] {
	var from watchFrom
	if revision != 0 {
		from.Revision = &revision
	}
	return func(yield func(Update, error) bool) {
		for raw, err := range c.varlink.Stream(ctx, methodWatch, from) {
			var u Update
			if err == nil {
				u, err = c.update(raw)
			}
			if !yield(u, err) || err != nil {
				return
			}
		}
	}
}

func (c *Client) update(raw []byte) (Update, error) {
	var u Update
	if err := varlink.UnmarshalGrowing(raw, &u); err != nil {
		return Update{}, err
	}
	for i, ch := range u.Changes {
		if ch.Kind != Put && ch.Kind != Delete {
			return Update{}, fmt.Errorf("%w: change %.32q", ErrPeer, ch.Kind)
		}
		r, err := c.accept(ch.Service)
		if err != nil {
			return Update{}, err
		}
		u.Changes[i].Service = r
	}
	return u, nil
}

// Register enters or changes a service of this domain.
func (c *Client) Register(ctx context.Context, e services.Entry) error {
	in := registration{Name: e.Name, Port: e.Port, State: e.State, Txt: e.Txt}
	return c.varlink.Call(ctx, methodRegister, in, nil)
}

// Unregister takes a service of this domain out.
func (c *Client) Unregister(ctx context.Context, name string) error {
	return c.varlink.Call(ctx, methodUnregister, named{name}, nil)
}

// accept checks a record of the peer, and puts in what the link tells.
func (c *Client) accept(r Record) (Record, error) {
	if c.owner != nil {
		r.Domain, r.UUID, r.CID, r.DomainID = c.owner.Name, c.owner.UUID, c.owner.CID, c.owner.Domain
	}
	if err := r.check(); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrPeer, err)
	}
	return r, nil
}
