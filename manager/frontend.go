package manager

import (
	"context"
	"errors"
	"path"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"xvsock/link"
	"xvsock/manager/port1"
	"xvsock/vsock"
	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// retryPause is how long a frontend that could not be served is left alone.
const retryPause = 5 * time.Second

// errRenamed ends the link of a frontend that was attached under another name.
var errRenamed = errors.New("attached anew under another name")

// frontend is one attached frontend.
type frontend struct {
	m      *Manager
	id     xen.DomID
	detach context.CancelCauseFunc

	bucket                *rate.Limiter // of its requests, over all its links
	spoken                *rate.Limiter // of lines in the log about decisions
	denied, late, delayed atomic.Uint64 // see Frontend

	// Manager.mu guards what follows.
	who        Identity
	uuid       port1.UUID       // who's, as port 1 has it
	attachment port1.Attachment // the same
	detached   bool             // run is about to return
	link       *link.Link       // nil while it is down
	talk       *conversation    // nil before there is a connection to port 1
	claims     claims
}

// newFrontend returns a frontend that is not served yet.
func newFrontend(m *Manager, who Identity) *frontend {
	f := &frontend{
		m: m, id: who.Domain,
		bucket: m.cfg.Budgets.bucket(), spoken: rate.NewLimiter(spokenRate, spokenBurst),
	}
	f.identify(who)
	return f
}

// identify notes who the frontend is. The caller holds mu.
func (f *frontend) identify(who Identity) {
	who.Serial = f.who.Serial
	f.who, f.uuid, f.attachment = who, binaryUUID(who.UUID), binaryAttachment(who.Attachment)
}

// run serves the frontend until it is detached, its domain is gone, or the
// Manager stops.
func (f *frontend) run(ctx context.Context) {
	m, id := f.m, f.id
	defer m.forget(f)
	defer f.detach(nil)
	err := link.NewBack(m.cfg.Domain, id, m.cfg.Link).Run(ctx, f.use)
	switch {
	case errors.Is(err, xenbus.ErrGone):
		m.log.Info("frontend's domain is gone", "domain", id)
		f.removeDevice(ctx)
	case errors.Is(err, xenbus.ErrDetached), errors.Is(context.Cause(ctx), xenbus.ErrDetached):
		m.log.Info("frontend was detached", "domain", id)
	case ctx.Err() == nil:
		m.log.Error("cannot serve frontend", "domain", id, "error", err, "again_in", retryPause)
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
	}
}

// use runs the connections of the front link while it is up.
func (f *frontend) use(_ context.Context, l *link.Link) error {
	who := f.setLink(l, l.Serial())
	f.m.cfg.Up(who, l)
	err := f.m.stackNow().Serve(l, vsock.ToFrontend, nil)
	f.setLink(nil, 0)
	f.m.cfg.Down(who, l)
	return err
}

// setLink notes which link the frontend has, and returns who the frontend is.
// The connection to port 1 belongs to the link before.
func (f *frontend) setLink(l *link.Link, serial uint64) Identity {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.talk != nil {
		f.talk.leave()
	}
	f.link, f.who.Serial = l, serial
	return f.who
}

// removeDevice removes what is left of the device of a domain that is gone. The
// toolstack gave this domain the levels above the device for that. If the
// frontend's half is there, the toolstack has made the device again meanwhile.
func (f *frontend) removeDevice(ctx context.Context) {
	self, front := f.m.cfg.Domain, f.id
	err := self.Store.Transaction(ctx, func(tx *xenstore.Tx) error {
		if _, err := tx.Read(ctx, xenbus.FrontPath(front)+"/state"); !missing(err) {
			return err
		}
		return tx.Remove(ctx, path.Dir(xenbus.BackPath(self.ID(), front)))
	})
	if err != nil && !missing(err) {
		f.m.log.Warn("remove device of a domain that is gone", "domain", front, "error", err)
	}
}
