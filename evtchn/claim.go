package evtchn

import (
	"fmt"
	"runtime"
	"time"

	"xvsock/xen"
)

// Claimer is a Binder whose reader can be asked to stay away, so that one goroutine
// waits for the events of all channels itself. Between two domains that answer each
// other at once the handover from a reader to whoever it wakes is most of a round
// trip.
type Claimer interface {
	// Claim asks for that. It returns nil if somebody else has the claim, or there
	// is nothing to wait for any more.
	Claim() Claim
}

// Claim is the right to wait in the place of the reader. Its methods are called by
// one goroutine at a time. Whoever holds it collects soon after each event, whatever
// channel it is of, or releases the claim.
type Claim interface {
	// Ready gives the reader d to leave, if it has not, and says whether it has: then
	// Nap may be called.
	Ready(d time.Duration) bool
	// Nap waits until there is an event of some channel, or for d, which is a few
	// milliseconds at most: the caller's processor does nothing else meanwhile, and
	// the garbage collector may have to wait for it.
	Nap(d time.Duration) (event bool, err error)
	// Collect gives the events that Nap has found to their channels. It never
	// waits.
	Collect() error
	// Release has the reader come back.
	Release()
}

// claim is a Kernel's Claim.
//
//	            Claim                    the reader sees it
//	unclaimed --------> claimed (reading) -----------------> claimed (away)
//	     ^                   | Release                            | Release
//	     +-------------------+------------------------------------+
//
// The reader sees it when it is sent an event of our own, as for its end.
type claim struct {
	kernel *Kernel
	found  bool // a Nap found events that were not collected
	ports  []uint32
}

var (
	_ Claimer = (*Kernel)(nil)
	_ Claim   = (*claim)(nil)
)

// Claim implements Claimer.
func (k *Kernel) Claim() Claim {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.claim != nil || k.cause != nil {
		return nil
	}
	if err := k.device.notify(k.wake); err != nil {
		return nil
	}
	k.claim = &claim{kernel: k, ports: make([]uint32, len(k.ports))}
	return k.claim
}

// stand has the reader stay away while there is a claim, and says whether there is
// anything to read for afterwards.
func (k *Kernel) stand() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.claim != nil && k.cause == nil {
		k.away = true
		k.unclaimed.Wait()
	}
	k.away = false
	return k.cause == nil
}

// Ready implements Claim. The reader needs a thread to come out of its read, and then a
// processor of the scheduler's to see the claim; the caller may have the only one of both.
func (c *claim) Ready(d time.Duration) bool {
	if c.ready() {
		return true
	}
	c.kernel.device.pause(d)
	runtime.Gosched()
	return c.ready()
}

// ready says that the reader has left.
func (c *claim) ready() bool {
	k := c.kernel
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.claim == c && k.away
}

// Nap implements Claim.
func (c *claim) Nap(d time.Duration) (bool, error) {
	ready := c.ready() // else the reader takes what is there
	event, err := c.kernel.device.poll(d)
	if err != nil {
		return false, fmt.Errorf("wait for events: %w", err)
	}
	c.found = c.found || event && ready
	return event, nil
}

// Collect implements Claim. mu is held over the read, which returns at once, so that
// none is on its way when the device is abandoned.
func (c *claim) Collect() error {
	k := c.kernel
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.cause != nil:
		return k.cause
	case k.claim != c || !k.away || !c.found:
		return nil // the reader reads
	}
	c.found = false
	n, err := k.device.take(c.ports)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	return k.hand(c.ports[:n])
}

// Release implements Claim.
func (c *claim) Release() {
	k := c.kernel
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.claim == c {
		k.claim = nil
		k.unclaimed.Broadcast()
	}
}

// hand gives each event to the channel that has the port now. The caller holds mu.
func (k *Kernel) hand(ports []uint32) error {
	for _, p := range ports {
		port := xen.Port(p)
		if c := k.channels[port]; c != nil {
			c.raise()
		}
		if port == k.stop || port == k.wake {
			if err := k.device.unmask(port); err != nil {
				return fmt.Errorf("unmask the reader's port %d: %w", port, err)
			}
		}
	}
	return nil
}
