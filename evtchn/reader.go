package evtchn

import (
	"fmt"

	"xvsock/internal/sys"
	"xvsock/xen"
)

// This file is how the process waits for events. One goroutine for all ports
// makes ordinary blocking reads, which take a thread of their own. Waiting in the
// runtime's poller (os.File) doubled the time that a message takes to a sleeping
// reader, and a raw system call would keep the garbage collector waiting.
//
// A blocking read is not ended by closing the descriptor. stopReader therefore
// sends an event to ourselves.

// read is the reader: it delivers events until the Kernel is no more open.
func (k *Kernel) read() {
	defer close(k.ended)
	ports := make([]uint32, sys.MaxReadPorts)
	for {
		n, err := k.device.read(ports)
		if err != nil {
			k.fail(fmt.Errorf("read events: %w", err))
			return
		}
		if !k.deliver(ports[:n]) {
			return
		}
	}
}

// deliver hands each event to the channel that has the port now, and reports
// whether there is more to read. Ports of nobody are those of channels that were
// closed meanwhile, and our own two.
func (k *Kernel) deliver(ports []uint32) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cause != nil {
		return false
	}
	for _, port := range ports {
		if c := k.channels[xen.Port(port)]; c != nil {
			c.raise()
		}
	}
	return true
}

// fail ends the use of the device because it cannot be read. The channels stay
// bound until they are closed.
func (k *Kernel) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cause != nil {
		return
	}
	k.cause = err
	for _, c := range k.channels {
		c.broken.Store(&err)
		c.raise()
	}
}

// stopReader makes the reader return, once k.cause is set, and waits for it.
func (k *Kernel) stopReader() error {
	select {
	case <-k.ended:
		return nil
	default:
	}
	if err := k.device.notify(k.wake); err != nil {
		return fmt.Errorf("wake the reader of events: %w", err)
	}
	<-k.ended
	return nil
}
