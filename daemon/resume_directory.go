package daemon

import (
	"context"
	"sync/atomic"

	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/vsock"
)

// ownDirectory is a frontend's directory of its own services, in which the domain
// goes by the id that it has now. It implements discovery.Directory.
type ownDirectory struct {
	now atomic.Pointer[discovery.OwnDirectory]
}

var _ discovery.Directory = (*ownDirectory)(nil)

// renew makes the directory that of the domain as it is called now.
func (o *ownDirectory) renew(f *frontend) {
	id := f.cfg.Domain.ID()
	self := services.Caller{Domain: uint16(id), CID: vsock.CIDOf(id), Name: f.name()}
	o.now.Store(discovery.NewOwnDirectory(f.registry, self, f.visible))
}

// List implements discovery.Directory.
func (o *ownDirectory) List(c discovery.Caller, f discovery.Filter) ([]discovery.Record, uint64) {
	return o.now.Load().List(c, f)
}

// Next implements discovery.Directory. Over a resume it waits no longer than the
// connection lasts for which it was asked.
func (o *ownDirectory) Next(ctx context.Context, c discovery.Caller, after uint64) ([]discovery.Change, uint64, error) {
	return o.now.Load().Next(ctx, c, after)
}

// Register implements discovery.Directory.
func (o *ownDirectory) Register(c discovery.Caller, e services.Entry) error {
	return o.now.Load().Register(c, e)
}

// Unregister implements discovery.Directory.
func (o *ownDirectory) Unregister(c discovery.Caller, name string) error {
	return o.now.Load().Unregister(c, name)
}
