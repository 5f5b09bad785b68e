package vhost

import (
	"errors"
	"fmt"

	"xvsock/internal/sys"
)

// Open makes an instance with that CID. Receive and Send work as soon as it returns,
// and so do the kernel's sockets.
//
// Its errors say what to do. They wrap ErrUnavailable, fs.ErrPermission, ErrInUse, or
// the errno of the step that the kernel refused.
func Open(cid uint32) (*Instance, error) { return open(cid, standardShape(), nil) }

// open is Open of any shape, with a record of what it holds for tests.
func open(cid uint32, s shape, record *sys.Record) (*Instance, error) {
	k := &kernel{record: record}
	i, err := k.open(cid, s)
	if err != nil {
		return nil, fmt.Errorf("open vhost with CID %d: %w", cid, errors.Join(explain(err), k.close(), k.unmap()))
	}
	i.start()
	return i, nil
}

// kernel is the device of an instance.
type kernel struct {
	record         *sys.Record
	fd             *sys.FD
	memory         *sys.Memory
	rxKick, txKick *sys.FD
	rxCall, txCall *sys.Event
	fault          *sys.Event // of both queues
}

// open makes everything, in the order that the kernel wants: the queue is filled
// before it runs, and it runs before the CID is known (sys.VhostSetCID).
func (k *kernel) open(cid uint32, s shape) (*Instance, error) {
	if err := k.acquire(s.layout().size); err != nil {
		return nil, err
	}
	i := newInstance(cid, s, device{
		memory: k.memory.Bytes(),
		rxKick: func() error { return sys.Kick(k.rxKick) },
		txKick: func() error { return sys.Kick(k.txKick) },
		rxCall: k.rxCall, txCall: k.txCall, fault: k.fault,
		stop: k.stop, unmap: k.unmap,
	})
	if err := k.connect(i, s.base); err != nil {
		return nil, err
	}
	if err := sys.VhostRun(k.fd, true); err != nil {
		return nil, err
	}
	return i, sys.VhostSetCID(k.fd, cid)
}

// acquire takes the descriptors and the memory.
func (k *kernel) acquire(size int) (err error) {
	if k.fd, err = sys.OpenVhostVsock(k.record); err != nil {
		return &openError{err}
	}
	if k.memory, err = sys.MapAnonymous(size, k.record); err != nil {
		return fmt.Errorf("map %d bytes: %w", size, err)
	}
	for _, kick := range []**sys.FD{&k.rxKick, &k.txKick} {
		if *kick, err = sys.NewKick(k.record); err != nil {
			return fmt.Errorf("make an eventfd: %w", err)
		}
	}
	for name, event := range map[string]**sys.Event{"rx call": &k.rxCall, "tx call": &k.txCall, "fault": &k.fault} {
		if *event, err = sys.NewEvent(name, k.record); err != nil {
			return fmt.Errorf("make an eventfd: %w", err)
		}
	}
	return nil
}

// connect gives the kernel the queues of i.
func (k *kernel) connect(i *Instance, base uint16) error {
	if err := sys.VhostSetOwner(k.fd); err != nil {
		return err
	}
	offered, err := sys.VhostFeatures(k.fd)
	if err != nil {
		return err
	}
	if err := sys.VhostSetFeatures(k.fd, offered&(sys.FeatureVersion1|sys.FeatureSeqpacket)); err != nil {
		return err
	}
	if err := sys.VhostSetMemory(k.fd, k.memory); err != nil {
		return err
	}
	for index, r := range []struct {
		queue *queue
		kick  *sys.FD
		call  *sys.Event
	}{{&i.rx.queue, k.rxKick, k.rxCall}, {&i.tx.queue, k.txKick, k.txCall}} {
		err := sys.VhostSetRing(k.fd, index, sys.VhostRing{
			Size: int(r.queue.size), Base: base,
			Desc: r.queue.desc, Avail: r.queue.avail, Used: r.queue.used,
			Kick: r.kick, Call: r.call, Fault: k.fault,
		})
		if err != nil {
			return fmt.Errorf("queue %d: %w", index, err)
		}
	}
	return nil
}

// stop closes the device, which waits for the kernel's worker, and then the kicks: a
// Send that is still there finds them closed, not another file with their number.
//
// The device is told to leave the memory first, because a program that is just being
// started has a copy of all descriptors until it execs: then close(2) does not end it.
func (k *kernel) stop() error {
	var err error
	if k.fd != nil {
		_ = sys.VhostRun(k.fd, false) // refused only if it never ran
	}
	for _, fd := range []*sys.FD{k.fd, k.rxKick, k.txKick} {
		if fd != nil {
			err = errors.Join(err, fd.Close())
		}
	}
	return err
}

// close is stop, and the end of the events, for an instance that was not started.
func (k *kernel) close() error {
	err := k.stop()
	for _, event := range []*sys.Event{k.rxCall, k.txCall, k.fault} {
		if event != nil {
			err = errors.Join(err, event.Close())
		}
	}
	return err
}

func (k *kernel) unmap() error {
	if k.memory == nil {
		return nil
	}
	return k.memory.Unmap()
}
