package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"xvsock/link"
	"xvsock/xenstore"
)

// openTimeout bounds how long xenstore may take to say who we are.
const openTimeout = 10 * time.Second

// openStore opens xenstore. The error says in one line what is missing, and what
// to do about it.
func (a *app) openStore() (*xenstore.Client, error) {
	store, err := a.platform.Store()
	switch {
	case err == nil:
		return store, nil
	case errors.Is(err, fs.ErrPermission):
		err = errors.New("no right to open xenstore: run as root")
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("no xenstore: neither /run/xenstored/socket nor /dev/xen/xenbus is there; " +
			"in dom0 start xenstored, in a domU mount xenfs, and elsewhere there is only `xvsock sim`")
	}
	return nil, &setupError{err}
}

// withStore runs f with xenstore open.
func (a *app) withStore(f func(*xenstore.Client) error) error {
	store, err := a.openStore()
	if err != nil {
		return err
	}
	defer store.Close()
	return f(store)
}

// openDomain opens xenstore and the devices of this domain. The function that it
// returns closes them.
func (a *app) openDomain(ctx context.Context, log *slog.Logger) (_ *link.Domain, _ func() error, err error) {
	store, err := a.openStore()
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			store.Close()
		}
	}()
	ask, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	self, err := store.DomID(ask)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("xenstore does not answer within %v: does xenstored run in dom0?", openTimeout)
	}
	if err != nil {
		return nil, nil, &setupError{fmt.Errorf("find out this domain's id: %w", err)}
	}
	d := link.NewDomain(self, nil, nil, store)
	closeDevices, err := a.platform.Devices(ctx, d, log)
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: run as root", err)
	}
	if err != nil {
		return nil, nil, &setupError{err}
	}
	return d, func() error { return errors.Join(closeDevices(), store.Close()) }, nil
}
