package evtchn

import (
	"errors"
	"fmt"
	"time"

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

// stopWait bounds how long the reader may take to end.
const stopWait = time.Second

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
		more, err := k.deliver(ports[:n])
		if err != nil {
			k.fail(err)
		}
		if err != nil || !more {
			return
		}
	}
}

// deliver hands each event to the channel that has the port now, and reports
// whether there is more to read. Ports of nobody are those of channels that were
// closed meanwhile, and our own two. While the Kernel is open an event of those
// means nothing, but they are written back: a port that stays masked would not
// deliver the one that ends the reader.
func (k *Kernel) deliver(ports []uint32) (more bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cause != nil {
		return false, nil
	}
	for _, p := range ports {
		port := xen.Port(p)
		if c := k.channels[port]; c != nil {
			c.raise()
		}
		if port == k.stop || port == k.wake {
			if err := k.device.unmask(port); err != nil {
				return false, fmt.Errorf("unmask the reader's port %d: %w", port, err)
			}
		}
	}
	return true, nil
}

// fail ends the use of the device because events cannot be read any more. The
// channels stay bound until they are closed.
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

// stopReader makes the reader return, once k.cause is set, and waits for it. The
// event that is to wake it goes nowhere if its port is of before a resume.
func (k *Kernel) stopReader() error {
	select {
	case <-k.ended:
		return nil
	default:
	}
	if err := k.device.notify(k.wake); err != nil {
		return fmt.Errorf("wake the reader of events: %w", err)
	}
	t := time.NewTimer(stopWait)
	defer t.Stop()
	select {
	case <-k.ended:
		return nil
	case <-t.C:
		return errors.New("the reader of events does not end")
	}
}
