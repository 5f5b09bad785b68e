package afvsock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"xvsock/mux"
	"xvsock/xen"
)

// Why an instance fails. Its sockets get ECONNRESET, and it is made again.
var (
	errLost     = errors.New("the link was lost")
	errGone     = errors.New("nothing is allowed with the domain any more")
	errLeaves   = errors.New("a daemon ends, the domain's or this one")
	errStalled  = errors.New("the kernel takes no packets")
	errOverflow = errors.New("the kernel takes no resets, and too many wait")
	errCrowd    = errors.New("too many links wait for the kernel")
	errBug      = errors.New("a bug of this program")
)

// instance is one CID, while it is open. It implements mux.Relay.
//
// Two goroutines serve it, receive and transmit, and a third while REQUESTs wait for a
// link. Its locks are leaves: they are taken with Session.mu held, and no session,
// Stack or Switch is called under them.
type instance struct {
	peer  Peer
	stack Stack
	deny  func(port uint32) bool
	gone  func(xen.DomID) bool
	log   *slog.Logger
	poke  func() // has the Switch look at failure
	tally *tally

	cause atomic.Pointer[error] // the first failure

	ctx    context.Context // ends when it is to close
	cancel context.CancelFunc
	work   sync.WaitGroup

	dev   Device
	queue queue
	late  late
}

// newInstance serves dev until close.
func (s *Switch) newInstance(peer Peer, dev Device, t *tally) *instance {
	i := &instance{
		peer: peer, stack: s.stack, deny: s.cfg.Deny, gone: s.cfg.Gone, poke: s.poke, tally: t, dev: dev,
		log: s.cfg.Log.With("cid", peer.CID, "domain", peer.Domain),
	}
	i.queue.init(dev)
	i.ctx, i.cancel = context.WithCancel(context.Background())
	i.work.Go(func() { i.guard(i.receive); i.guard(i.drain) })
	i.work.Go(func() { i.guard(i.transmit) })
	return i
}

// guard runs f. A panic is a bug of ours; it costs this instance and not the process,
// which may be PID 1 (rule R16).
func (i *instance) guard(f func()) {
	defer func() {
		if bug := recover(); bug != nil {
			i.log.Error("instance ended by a bug", "bug", bug, "stack", string(debug.Stack()))
			i.fail(fmt.Errorf("%w: %v", errBug, bug))
		}
	}()
	f()
}

// fail has the instance closed and made again. It does not wait.
func (i *instance) fail(err error) {
	if i.cause.CompareAndSwap(nil, &err) {
		i.poke()
	}
}

// failure returns why the instance is to be closed and made again, or nil.
func (i *instance) failure() error {
	if err := i.cause.Load(); err != nil {
		return *err
	}
	return nil
}

// close ends the instance: the kernel's sockets get ECONNRESET, the other side RST.
func (i *instance) close() error {
	i.cancel()
	waiters := i.queue.close() // no Send any more
	i.stack.Withdraw(i.peer.CID, i)
	for _, s := range waiters {
		s.Wake() // to find that there is nobody to deliver to
	}
	err := i.dev.Close()
	i.work.Wait()
	// Receive may have begun a connection since.
	i.stack.Withdraw(i.peer.CID, i)
	return err
}

// Reset implements mux.Relay. To a kernel's socket RST is the end of the file, and a
// program is not to take a part for the whole: where everything ends, it ends as lost.
func (i *instance) Reset(p mux.Packet) {
	switch mux.Reason(p.Flags) {
	case mux.ReasonShuttingDown: // of this domain's daemon, or the other's
		i.fail(errLeaves)
	case mux.ReasonRevoked:
		if i.gone(i.peer.Domain) {
			i.fail(errGone)
		}
	}
	i.reset(p)
}

// Lost implements mux.Relay. The kernel's sockets get ECONNRESET only by the end of
// their instance.
func (i *instance) Lost() { i.fail(errLost) }
