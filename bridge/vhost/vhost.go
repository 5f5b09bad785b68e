package vhost

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// ErrBroken says that an instance is of no use any more because the kernel's side of
// its queues stopped or made no sense. Close it and Open another.
var ErrBroken = errors.New("vhost queue is broken")

// Instance is one CID at which the kernel's sockets find this process. Receive is one
// goroutine's; Send and Close may be called by any, at any time.
//
//	running --Close-----------------------> closed   Receive: os.ErrClosed
//	   |                                      ^
//	   `--fault, nonsense in a queue--> broken'      Receive: ErrBroken
//
// Once it is not running, Receive returns the reason, and Send drops its packets.
type Instance struct {
	cid    uint32
	device device
	rx     receiver
	tx     sender

	// cause is why it does not run any more.
	cause    atomic.Pointer[error]
	dropped  atomic.Uint64
	watchers sync.WaitGroup

	closing sync.Once
	closed  error // of Close

	// The memory goes with the last who uses it: Close, which has waited for all
	// others, or the goroutine of Receive.
	mu      sync.Mutex
	reading bool // Receive was called and has not returned an error yet
	idle    bool // nobody else uses the memory
}

// device is the kernel's side of an instance; tests have their own.
type device struct {
	memory         []byte // zeroed, all that the queues and their buffers are in
	rxKick, txKick func() error
	rxCall, txCall event
	fault          event        // a descriptor was of no use to the kernel
	stop           func() error // returns when the kernel does not use memory any more
	unmap          func() error // memory must not be touched after it
}

// event is an eventfd. Wait returns after Signal, also an earlier one, and with an
// error after Close.
type event interface {
	Wait() error
	Signal() error
	Close() error
}

// newInstance lays the queues out in the device's memory, filled with buffers, for the
// kernel to be told of. It has no goroutines before start.
func newInstance(cid uint32, s shape, d device) *Instance {
	l := s.layout()
	return &Instance{
		cid: cid, device: d,
		rx: newReceiver(s, l, d.memory),
		tx: newSender(s, l, d.memory),
	}
}

// start begins to watch the device.
func (i *Instance) start() {
	i.watchers.Go(func() {
		for i.device.txCall.Wait() == nil {
			i.freed()
		}
	})
	i.watchers.Go(func() {
		if i.device.fault.Wait() == nil {
			i.fail(errors.New("the kernel could not use a buffer"))
		}
	})
}

// CID is the instance's.
func (i *Instance) CID() uint32 { return i.cid }

// Dropped is how many packets of the kernel Receive has passed over: of another CID,
// or of a kind that is not known.
func (i *Instance) Dropped() uint64 { return i.dropped.Load() }

// fail ends an instance that is of no use any more.
func (i *Instance) fail(why error) {
	i.end(fmt.Errorf("CID %d: %w: %w", i.cid, ErrBroken, why))
}

// end makes Receive return cause, and has who waits for room try again.
func (i *Instance) end(cause error) {
	if i.cause.CompareAndSwap(nil, &cause) {
		_ = i.device.rxCall.Signal() // closed already: then nobody waits
		i.tx.wake()
	}
}

// ended is why the instance does not run, or nil.
func (i *Instance) ended() error {
	if cause := i.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// Close ends it: every socket connected to the CID sees ECONNRESET, and Receive
// returns os.ErrClosed. It waits for the kernel, some 20 ms, and for nobody else. A
// second call does nothing more.
//
// Payload that Receive has returned stays valid until Receive is called again. So
// the memory is given back only when Receive has returned an error, if it was ever
// called.
func (i *Instance) Close() error {
	i.closing.Do(func() {
		i.end(fmt.Errorf("CID %d: %w", i.cid, os.ErrClosed))
		err := i.device.stop()
		i.closed = errors.Join(err, i.device.rxCall.Close(), i.device.txCall.Close(), i.device.fault.Close())
		i.watchers.Wait()
		// A Send that saw the instance run has left then; a later one sees its end.
		i.tx.mu.Lock()
		defer i.tx.mu.Unlock()
		i.mu.Lock()
		defer i.mu.Unlock()
		i.idle = true
		if !i.reading {
			i.closed = errors.Join(i.closed, i.device.unmap())
		}
	})
	return i.closed
}

// enter begins a call of Receive. The memory stays mapped from the first call on, until
// leave.
func (i *Instance) enter() error {
	if i.rx.entered {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.ended(); err != nil {
		return err
	}
	i.rx.entered, i.reading = true, true
	return nil
}

// leave is the end of a Receive that returns an error, after which none touches the
// memory: enter refuses it.
func (i *Instance) leave() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rx.entered, i.reading = false, false
	if i.idle {
		_ = i.device.unmap() // nobody is there to be told; it cannot fail
	}
}
