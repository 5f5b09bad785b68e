package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"xvsock/sim/xenstored"
	"xvsock/xen"
	"xvsock/xenstore"
)

// store is the host's xenstore.
type store struct{ *xenstored.Server }

// Xenstored returns the host's xenstore, for its own faults and counts.
func (h *Host) Xenstored() *xenstored.Server { return h.store.Server }

// Toolstack returns a new client of the xenstore with domain 0's rights that
// belongs to no process. The caller closes it.
func (h *Host) Toolstack() *xenstore.Client {
	return xenstore.New(h.store.Connect(0), xenstore.Config{})
}

// asToolstack makes changes to the xenstore in one transaction.
func (h *Host) asToolstack(f func(ctx context.Context, tx *xenstore.Tx) error) error {
	c := h.Toolstack()
	defer c.Close()
	ctx := context.Background()
	return c.Transaction(ctx, func(tx *xenstore.Tx) error { return f(ctx, tx) })
}

// storeConn is a process's connection to the xenstore.
type storeConn struct {
	io.ReadWriteCloser
	proc    *Process
	creator stack
	once    sync.Once
}

// Store opens a connection to the xenstore, as the kernel's /dev/xen/xenbus is. A
// Kill closes it, a restore keeps it.
func (p *Process) Store() io.ReadWriteCloser {
	h := p.dom.host
	h.mu.Lock()
	c := &storeConn{ReadWriteCloser: h.store.Connect(p.dom.id), proc: p, creator: caller()}
	dead := p.dead
	if !dead {
		p.stores[c] = struct{}{}
	}
	h.mu.Unlock()
	if dead {
		c.Close()
	}
	return c
}

// Xenstore opens a connection to the xenstore and makes a client of it, as
// xenstore.Open would in this domain. The caller closes it.
func (p *Process) Xenstore() *xenstore.Client {
	return xenstore.New(p.Store(), xenstore.Config{Device: p.dom.ID() != 0})
}

// Write implements io.Writer. It waits while the domain does not run.
func (c *storeConn) Write(b []byte) (int, error) {
	if err := c.proc.enter(nil); err != nil {
		return 0, fmt.Errorf("write to xenstore: %w", err)
	}
	return c.ReadWriteCloser.Write(b)
}

// Close implements io.Closer.
func (c *storeConn) Close() error {
	var err error
	c.once.Do(func() {
		h := c.proc.dom.host
		h.mu.Lock()
		delete(c.proc.stores, c)
		h.mu.Unlock()
		err = c.ReadWriteCloser.Close()
	})
	return err
}

// openStore starts the xenstore, with domain 0 in it.
func (h *Host) openStore() error {
	h.store = store{xenstored.New()}
	return h.asToolstack(func(ctx context.Context, tx *xenstore.Tx) error {
		return errors.Join(
			tx.Write(ctx, "/local/domain/0/name", "Domain-0"),
			tx.Write(ctx, "/local/domain/0/domid", "0"))
	})
}

// introduce makes a domain's nodes and tells xenstored of it.
func (h *Host) introduce(d *Domain, id xen.DomID) error {
	h.store.Create(id)
	err := h.asToolstack(func(ctx context.Context, tx *xenstore.Tx) error { return writeSkeleton(ctx, tx, d.config, id) })
	if err != nil {
		return err
	}
	h.store.Introduce(id)
	return nil
}

// removeNodes removes a domain's nodes, as libxl does before it destroys a domain.
func (h *Host) removeNodes(d *Domain, id xen.DomID) {
	err := h.asToolstack(func(ctx context.Context, tx *xenstore.Tx) error { return removeSkeleton(ctx, tx, d.config, id) })
	if err != nil {
		h.misuse("remove the nodes of domain %d: %v", id, err)
	}
}
