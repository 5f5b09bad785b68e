package sim

import (
	"fmt"
	"syscall"

	"xvsock/evtchn"
	"xvsock/xen"
)

const (
	// firstPort is the first port that programs get: the kernel has the ones
	// below for xenstore, the console, timers and interrupts between CPUs.
	firstPort = 8
	// DefaultEventChannels is how many ports programs can have when the domain's
	// configuration has xl's default max_event_channels=1023.
	DefaultEventChannels = 1023 - firstPort + 1
)

// port is an event channel as Xen sees it.
//
//	Unbound ----------------> unbound(remote) --remote binds--> interdomain
//	Interdomain ------------> interdomain --other end closes--> unbound(that domain)
//	unbound, interdomain --last reference put--> free
//
// That a port whose other end closed may be bound again, by that same domain
// alone, is Xen's doing (evtchn_close sets the other end ECS_UNBOUND).
type port struct {
	num     xen.Port
	dom     *Domain
	remote  xen.DomID // who may bind while peer is nil
	peer    *port     // the other end when interdomain
	refs    int       // the channel, and every unmap-notify that names the port
	channel *Channel  // who receives its events
}

// send raises an event at the other end, if there is one. The caller holds mu.
func (pt *port) send() {
	if pt.peer != nil && pt.peer.channel != nil {
		pt.peer.channel.raise()
	}
}

// put drops one reference; the last one frees the port. The caller holds mu for
// writing.
func (pt *port) put() {
	pt.refs--
	if pt.refs == 0 {
		pt.close()
	}
}

// close is Xen's evtchn_close: the other end hears nothing.
func (pt *port) close() {
	if pt.peer != nil {
		pt.peer.peer, pt.peer.remote = nil, pt.dom.id
		pt.peer = nil
	}
	delete(pt.dom.ports, pt.num)
}

// newPort takes the lowest free port, as Xen does.
func (d *Domain) newPort(remote xen.DomID) (*port, error) {
	for num := range xen.Port(d.config.EventChannels) {
		num += firstPort
		if d.ports[num] == nil {
			pt := &port{num: num, dom: d, remote: remote, refs: 1}
			d.ports[num] = pt
			return pt, nil
		}
	}
	return nil, fmt.Errorf("%d ports in use: %w", len(d.ports), evtchn.ErrNoPorts)
}

// join binds pt to port at of the domain it names.
func (h *Host) join(pt *port, at xen.Port) error {
	d := h.domains[pt.remote]
	if d == nil {
		return syscall.ESRCH
	}
	far := d.ports[at]
	if far == nil || far == pt || far.peer != nil || far.remote != pt.dom.id {
		return syscall.EINVAL
	}
	pt.peer, far.peer = far, pt
	return nil
}
