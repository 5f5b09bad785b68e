package sim

import (
	"errors"
	"fmt"

	"xvsock/grant"
	"xvsock/xen"
)

// Op names a call of a process on its devices.
type Op uint8

// The calls that a hook sees.
const (
	OpShare Op = iota + 1
	OpOnRevoke
	OpRevoke
	OpCopy
	OpMap
	OpUnmap
	OpUnbound
	OpInterdomain
	OpNotify
	OpUnmask
	OpClose
)

// String returns the name of the call.
func (op Op) String() string {
	names := [...]string{
		OpShare: "share", OpOnRevoke: "set unmap-notify", OpRevoke: "revoke", OpCopy: "copy", OpMap: "map", OpUnmap: "unmap",
		OpUnbound: "unbound", OpInterdomain: "interdomain", OpNotify: "notify", OpUnmask: "unmask", OpClose: "unbind",
	}
	if int(op) < len(names) && names[op] != "" {
		return names[op]
	}
	return fmt.Sprintf("operation %d", uint8(op))
}

// ErrPretend is what a hook returns to make a call succeed without doing anything:
// an event is lost, a copy returns okay and has copied nothing (XSA-318).
var ErrPretend = errors.New("pretend success")

// Call is one call of a process on its devices, as a hook sees it.
type Call struct {
	Op       Op
	Process  *Process
	Peer     xen.DomID       // whom share, map, unbound and interdomain name
	Port     xen.Port        // of interdomain: the peer's; else the local one
	Pages    int             // of share, revoke, map and unmap
	Segments []grant.Segment // of copy; the hook only reads them

	faults map[int]segmentFault
}

// segmentFault is what a hook does to one segment of a copy.
type segmentFault struct {
	status  grant.Status
	splitAt int
	between func()
}

// Fail makes segment k of a copy end with status s and copy nothing.
func (c *Call) Fail(k int, s grant.Status) { c.setFault(k, segmentFault{status: s}) }

// Split makes the copy of segment k stop before its byte at, call between, and
// then copy the rest: a torn read of two versions of the page. between may use
// any device.
func (c *Call) Split(k, at int, between func()) {
	c.setFault(k, segmentFault{splitAt: at, between: between})
}

func (c *Call) setFault(k int, f segmentFault) {
	if c.faults == nil {
		c.faults = make(map[int]segmentFault)
	}
	c.faults[k] = f
}

// fault is what the hook wants for segment k; c may be nil.
func (c *Call) fault(k int) segmentFault {
	if c == nil {
		return segmentFault{}
	}
	return c.faults[k]
}

// Hook has f called before every call of every process; nil ends that. What f
// returns ends the call without effect, as its error or, if it is ErrPretend, as
// success. f runs on the caller's goroutine with no lock held, so it may wait,
// and use the host; it must be fit for many goroutines at once.
func (h *Host) Hook(f func(*Call) error) {
	if f == nil {
		h.hook.Store(nil)
		return
	}
	h.hook.Store(&f)
}

func (h *Host) hooked() bool { return h.hook.Load() != nil }

// enter begins a call: it waits while the domain is paused or suspended and asks
// the hook, which may have suspended it. call may be nil if there is no hook.
func (p *Process) enter(call *Call) error {
	if err := p.await(); err != nil {
		return err
	}
	hook := p.dom.host.hook.Load()
	if hook == nil || call == nil {
		return nil
	}
	call.Process = p
	if err := (*hook)(call); err != nil {
		return err
	}
	return p.await()
}

// await waits until the domain runs.
func (p *Process) await() error {
	for {
		frozen, err := p.standing()
		if err != nil || frozen == nil {
			return err
		}
		<-frozen
	}
}

// standing returns the channel to wait for if the domain does not run now.
func (p *Process) standing() (frozen <-chan struct{}, err error) {
	h := p.dom.host
	h.mu.RLock()
	defer h.mu.RUnlock()
	if p.dead {
		return nil, ErrDead
	}
	return p.dom.frozen, nil
}

// outcome is what a call without a result returns when enter returned err.
// Ending something that ended with its process is no error.
func outcome(err error, ends bool, what string, args ...any) error {
	if err == ErrPretend || ends && errors.Is(err, ErrDead) {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(what, args...), err)
}
