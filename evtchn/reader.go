package evtchn

import (
	"errors"
	"fmt"
	"time"
)

// This file is how the process waits for events for long: one goroutine for all
// ports makes ordinary blocking reads, which take a thread of their own. Waiting in
// the runtime's poller (os.File) is slower, and a raw system call without an end
// would keep the garbage collector waiting. How a goroutine waits for an event that
// comes soon is in claim.go.
//
// A blocking read is not ended by closing the descriptor. stopReader therefore
// sends an event to ourselves.

// stopWait bounds how long the reader may take to end.
const stopWait = time.Second

// read is the reader: it delivers events until the Kernel is no more open.
func (k *Kernel) read() {
	defer close(k.ended)
	for {
		if !k.stand() {
			return
		}
		n, err := k.device.read(k.ports)
		if err != nil {
			k.fail(fmt.Errorf("read events: %w", err))
			return
		}
		more, err := k.deliver(k.ports[:n])
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
	return true, k.hand(ports)
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
