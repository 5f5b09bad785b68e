package evtchn

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"xvsock/internal/sys"
	"xvsock/xen"
)

// ErrAbandoned is what channels return whose Kernel was abandoned. It wraps
// os.ErrClosed.
var ErrAbandoned = fmt.Errorf("event channels are of before a resume: %w", os.ErrClosed)

// Config says where the kernel's device is. The zero Config is right on every
// system; tests set its fields.
type Config struct {
	Path   string      // default /dev/xen/evtchn
	Record *sys.Record // if not nil, records what is held
}

// Kernel is the Binder of the domain that this program runs in, over one open
// /dev/xen/evtchn. It uses two ports of the domain itself, to wake its reader.
//
//	open ---Close----> closed       ports unbound, descriptor closed, or as after Abandon
//	open ---Abandon--> abandoned    nothing touched any more, descriptor held for ever
//	open ---read error--> failed    channels can only be closed; Close and Abandon as in open
//
// An event of a Channel may be spurious: the kernel keeps events queued over an
// unbind, and the port's next owner may get one that was meant for the last. A
// Channel never gets a value after its own Close. When the Kernel leaves open,
// every Channel gets one last value, so that whoever waits for it looks, and
// finds the reason in what Unmask and Notify return.
type Kernel struct {
	device device
	// Events that are sent through wake arrive at stop: a channel from the
	// domain to itself.
	wake, stop xen.Port
	ended      chan struct{} // closed when the reader has returned

	// mu is held over binding and unbinding, so that the reader, which takes it
	// too, finds a port in channels however soon its first event comes, and that
	// Abandon finds no unbind on its way. A Channel's mu is taken before it.
	mu       sync.Mutex
	channels map[xen.Port]*channel
	cause    error // why there is no more binding; nil while open

	ports     []uint32  // the reader's
	claim     *claim    // who waits in its place; nil: nobody
	away      bool      // it waits for unclaimed
	unclaimed sync.Cond // or cause
}

var _ Binder = (*Kernel)(nil)

// Open opens the device. If it is missing the error wraps os.ErrNotExist and
// names the kernel module to load; its text serves as the reason for skipping a
// test. With no ports left it wraps ErrNoPorts.
func Open(config Config) (*Kernel, error) {
	path := config.Path
	if path == "" {
		path = "/dev/xen/evtchn"
	}
	fd, err := sys.OpenDevice(path, "xen-evtchn", config.Record)
	if err != nil {
		return nil, err
	}
	k, err := newKernel(evtchnDevice{fd})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return k, nil
}

// newKernel owns d, also if it fails.
func newKernel(d device) (*Kernel, error) {
	k := &Kernel{
		device: d, ended: make(chan struct{}), channels: make(map[xen.Port]*channel),
		ports: make([]uint32, sys.MaxReadPorts),
	}
	k.unclaimed.L = &k.mu
	var err error
	if k.stop, err = d.unbound(xen.DomIDSelf); err == nil {
		k.wake, err = d.interdomain(xen.DomIDSelf, k.stop)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bind channel to itself: %w", explain(err)), d.close())
	}
	go k.read()
	return k, nil
}

// Unbound implements Binder.
func (k *Kernel) Unbound(remote xen.DomID) (Channel, error) {
	c, err := k.bind(remote, func() (xen.Port, error) { return k.device.unbound(remote) })
	if err != nil {
		return nil, fmt.Errorf("allocate event channel for domain %v: %w", remote, err)
	}
	return c, nil
}

// Interdomain implements Binder.
func (k *Kernel) Interdomain(remote xen.DomID, port xen.Port) (Channel, error) {
	c, err := k.bind(remote, func() (xen.Port, error) { return k.device.interdomain(remote, port) })
	if err != nil {
		return nil, fmt.Errorf("bind port %d of domain %v: %w", port, remote, err)
	}
	return c, nil
}

func (k *Kernel) bind(remote xen.DomID, bind func() (xen.Port, error)) (*channel, error) {
	if !remote.Valid() {
		return nil, xen.ErrDomID
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cause != nil {
		return nil, k.cause
	}
	port, err := bind()
	if err != nil {
		return nil, explain(err)
	}
	c := &channel{kernel: k, port: port, event: make(chan struct{}, 1), bound: true}
	k.channels[port] = c
	return c, nil
}

// explain says what the errno of a bind means.
func explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: %w", ErrNoPorts, err)
	}
	return err
}

// unbind takes c out of the table and unbinds its port, unless all ports are
// gone or must not be touched. The caller holds c.mu.
func (k *Kernel) unbind(c *channel) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.channels[c.port] != c {
		return nil
	}
	delete(k.channels, c.port)
	return k.device.unbind(c.port)
}

// leave moves from open or failed to the end that cause names, and returns the
// channels that were left. It is false if there is nothing to leave.
func (k *Kernel) leave(cause error) ([]*channel, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cause == os.ErrClosed || k.cause == ErrAbandoned {
		return nil, false
	}
	k.cause = cause
	k.unclaimed.Broadcast()
	left := make([]*channel, 0, len(k.channels))
	for _, c := range k.channels {
		left = append(left, c)
	}
	clear(k.channels)
	return left, true
}

// Close unbinds all ports, ends the reader and closes the device. It waits for
// no other domain. If the reader cannot be ended, which after a resume that nobody
// has seen yet is so, the device is abandoned instead, and the error wraps
// ErrAbandoned. A second call, and one after Abandon, does nothing.
func (k *Kernel) Close() error {
	left, ok := k.leave(os.ErrClosed)
	if !ok {
		return nil
	}
	for _, c := range left {
		c.end(os.ErrClosed)
	}
	if err := k.stopReader(); err != nil {
		k.device.abandon()
		return fmt.Errorf("close event channels: %w: %w", ErrAbandoned, err)
	}
	return k.device.close() // which unbinds the ports
}

// Abandon gives up the device after a resume without touching it: after it has
// returned the descriptor is never read, notified, unbound or closed again, and
// stays open for as long as the process lives. All ports that were bound before a
// suspend are void, and unbinding one, or closing the descriptor, is a kernel BUG
// or takes away a new port with the same number. What it costs is the reader,
// which stays in its read for ever, and with it a thread. A second call, and one
// after Close, does nothing.
func (k *Kernel) Abandon() {
	left, ok := k.leave(ErrAbandoned)
	if !ok {
		return
	}
	k.device.abandon()
	for _, c := range left {
		c.end(ErrAbandoned) // waits for a Notify or Unmask on its way
	}
}

// Dup returns one more descriptor of an abandoned Kernel, which holds the device
// open in whatever process it is given to, and is never read, written or asked for
// anything. The error is os.ErrClosed if the Kernel was not abandoned.
func (k *Kernel) Dup() (*os.File, error) { return k.device.dup() }

// KeepAcrossExec lets the descriptor of an abandoned Kernel outlive the exec of
// this process, which would otherwise close it. It is called right before that
// exec and not earlier, or programs started meanwhile would get it too.
func (k *Kernel) KeepAcrossExec() error { return k.device.keepAcrossExec() }
