package launch

import (
	"context"
	"errors"
	"io/fs"
	"time"

	pid1 "xvsock/init"
	"xvsock/link"
	"xvsock/toolstack"
	"xvsock/xenstore"
)

// openStore is the step "xenstore".
func (d *domain) openStore(ctx context.Context) (err error) {
	if d.store, err = xenstore.Open(); err != nil {
		return &pid1.Fault{Thing: "xenstore", Err: err, Fix: "this kernel is no Xen guest, or has no CONFIG_XENFS and no /dev/xen/xenbus"}
	}
	d.tell.open(d.store)
	return nil
}

// closeStore ends the connection to xenstore, once the toolstack was told what it is
// told by then.
func (d *domain) closeStore(ctx context.Context) error {
	return errors.Join(d.init.Told(ctx), d.store.Close())
}

// readSettings reads what the toolstack told this domain.
func (d *domain) readSettings(ctx context.Context) (map[string][]string, error) {
	return toolstack.ReadOwnConfig(ctx, d.store)
}

// identify is the step "identity": who this domain is on its host.
func (d *domain) identify(ctx context.Context) error {
	id, err := d.store.ReadDomID(ctx, "domid")
	if err != nil {
		return &pid1.Fault{Thing: "this domain's id", Err: err, Fix: "the toolstack has to write /local/domain/N/domid"}
	}
	d.name = d.config.Name
	if self, err := toolstack.Describe(ctx, d.store, id); err == nil && self.Name != "" {
		d.name = self.Name // the toolstack's word is stronger than the label
	}
	d.devices = link.NewDomain(id, nil, nil, d.store)
	d.log.Info("this domain", "id", id, "name", d.name)
	return nil
}

// startTime is when the toolstack made this domain, as libxl writes it: seconds since
// 1970, with a fraction.
func (d *domain) startTime(ctx context.Context) (time.Time, error) {
	vm, err := d.store.Read(ctx, "vm")
	if err != nil {
		return time.Time{}, err
	}
	text, err := d.store.Read(ctx, vm+"/start_time")
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil // another toolstack than libxl
	}
	if err != nil {
		return time.Time{}, err
	}
	return pid1.ParseStartTime(text)
}
