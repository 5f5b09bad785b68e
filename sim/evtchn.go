package sim

import (
	"fmt"
	"os"
	"syscall"

	"xvsock/evtchn"
	"xvsock/xen"
)

// Events is one open /dev/xen/evtchn. It implements evtchn.Binder.
type Events struct {
	proc     *Process
	channels map[*Channel]struct{}
	creator  stack
	epoch    int   // the domain's at the time of opening; a restore begins a new one
	cause    error // why it is not open: os.ErrClosed or evtchn.ErrAbandoned
	kept     bool  // by another process too
}

var _ evtchn.Binder = (*Events)(nil)

// Unbound implements evtchn.Binder. Xen does not ask whether remote exists.
func (e *Events) Unbound(remote xen.DomID) (evtchn.Channel, error) {
	c, err := e.bind(OpUnbound, remote, 0)
	if err != nil {
		return nil, fmt.Errorf("allocate event channel for domain %d: %w", remote, err)
	}
	return c, nil
}

// Interdomain implements evtchn.Binder.
func (e *Events) Interdomain(remote xen.DomID, at xen.Port) (evtchn.Channel, error) {
	c, err := e.bind(OpInterdomain, remote, at)
	if err != nil {
		return nil, fmt.Errorf("bind port %d of domain %d: %w", at, remote, err)
	}
	return c, nil
}

func (e *Events) bind(op Op, remote xen.DomID, at xen.Port) (*Channel, error) {
	p := e.proc
	if err := p.enter(&Call{Op: op, Peer: remote, Port: at}); err != nil {
		return nil, err
	}
	h := p.dom.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.dead {
		return nil, ErrDead
	}
	p.dom.counters.binds.Add(1)
	if !remote.Valid() {
		return nil, h.notDomain(op.String(), remote)
	}
	if e.cause != nil {
		return nil, e.cause
	}
	if e.epoch != p.dom.epoch || p.dom.suspended {
		if !p.dom.unaware() {
			h.misuse("%v on an event channel device of before the restore", op)
		}
		return nil, syscall.EEXIST
	}
	pt, err := p.dom.newPort(remote)
	if err != nil {
		return nil, err
	}
	if op == OpInterdomain {
		if err := h.join(pt, at); err != nil {
			delete(p.dom.ports, pt.num)
			return nil, err
		}
	}
	c := &Channel{events: e, port: pt, num: pt.num, event: make(chan struct{}, 1), enabled: true, creator: caller()}
	pt.channel = c
	e.channels[c] = struct{}{}
	if op == OpInterdomain {
		c.raise() // Xen leaves one event pending on the binder's port
	}
	return c, nil
}

// Close closes the device and with it all its channels.
func (e *Events) Close() error {
	e.leave(os.ErrClosed, func(c *Channel) { c.end() })
	return nil
}

// Abandon keeps the device open for ever and uses it no more, which is all that
// may be done with it after a restore.
func (e *Events) Abandon() {
	e.leave(evtchn.ErrAbandoned, func(*Channel) {})
}

// Process is whose device it is.
func (e *Events) Process() *Process { return e.proc }

// Keep has another process hold the abandoned device open too, so that the end of
// this one does not close it.
func (e *Events) Keep() {
	e.proc.dom.host.mu.Lock()
	defer e.proc.dom.host.mu.Unlock()
	e.kept = true
}

// leave ends the use of the device once. Every channel gets one last value.
func (e *Events) leave(cause error, each func(*Channel)) {
	h := e.proc.dom.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.proc.dead || e.cause != nil {
		return
	}
	e.cause = cause
	for c := range e.channels {
		c.wake()
		each(c)
	}
}
