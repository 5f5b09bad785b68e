package ring

import (
	"fmt"
	"sync/atomic"
)

// due counts what one event channel owes the other side: each store that it
// must learn of, and the last one that it was told of.
//
//	store()           after the store itself             stores+1
//	send(notify)      stores > told: notify              told = stores as read before
//	acknowledge(n)    a header fetched after store n     told = n at least
//	                  showed awake = 1 (W3)
//
// A store is told of by a notify after it, or by proof that the other side
// polls and so will fetch once more before it sleeps (its W4). A value of awake
// fetched before the store proves nothing; hence a Fetch reads stores first and
// acknowledges no more than what it read. (model/ring.pml: Flush, NO_W3.)
type due struct {
	stores, told atomic.Uint64
}

func (d *due) store() { d.stores.Add(1) }

// pending says whether the other side must learn of something.
func (d *due) pending() bool { return d.told.Load() < d.stores.Load() }

// acknowledge raises told to n, if it is not there yet.
func (d *due) acknowledge(n uint64) {
	for {
		told := d.told.Load()
		if told >= n || d.told.CompareAndSwap(told, n) {
			return
		}
	}
}

// send notifies if something is due. told moves after notify returned, so that
// a goroutine that finds nothing due can rely on it; two that come together may
// both notify.
func (d *due) send(notify func() error, sent *atomic.Uint64) error {
	n := d.stores.Load()
	if d.told.Load() >= n {
		return nil
	}
	sent.Add(1)
	if err := notify(); err != nil {
		return err
	}
	d.acknowledge(n)
	return nil
}

// Flush sends the notifies that are due: for bytes committed and space wanted
// on the channel of the tx ring, for space freed that the other side wants on
// that of the rx ring. It leaves out those that W3 allows to leave out. It may
// be called by any goroutine, and must be called after Fetch, Peek, Discard, Commit
// or Want before their caller sleeps. An error of a notify is passed on, and
// ends the End.
func (e *End) Flush() error {
	if err := e.dead(); err != nil {
		return err
	}
	if !e.tx.due.pending() && !e.rx.due.pending() {
		return nil
	}
	if e.peer != nil {
		e.witness()
	}
	if err := e.tx.due.send(e.notifyTx, &e.counters.notifies); err != nil {
		return e.fail(fmt.Errorf("notify of data: %w", err))
	}
	if err := e.rx.due.send(e.notifyRx, &e.counters.notifies); err != nil {
		return e.fail(fmt.Errorf("notify of space: %w", err))
	}
	return nil
}

// witness looks whether the other side polls, after all that was stored so far, where
// that costs a load (W3). (model/ring.pml: Flush.)
func (e *End) witness() {
	tx, rx := e.tx.due.stores.Load(), e.rx.due.stores.Load()
	if loadLE32(e.peer.words.awake) != 0 {
		e.tx.due.acknowledge(tx)
		e.rx.due.acknowledge(rx)
	}
}

// Awake publishes whether the receiving goroutine polls (W4). After
// Awake(false) its owner fetches until a Fetch brings no news, calls Flush, and
// only then sleeps; Awake(false) ends with a full fence, so that these fetches
// read later than the store. A reader that does not poll never calls it.
// (model/ring.pml: Awake, RSleep, NO_W4FENCE, SLEEP_ON_NOT_YET.)
func (e *End) Awake(on bool) {
	if e.dead() != nil {
		return
	}
	if on {
		storeLE32(e.own.awake, 1)
		return
	}
	storeLE32(e.own.awake, 0)
	// A mapped header is loaded atomically, in order after the store. A copy is
	// loaded by the hypervisor, with loads that Go's rules do not order; a
	// read-modify-write is a full barrier on every machine that Xen runs on.
	e.fence.Add(1)
}

// answer is a wish for space that was granted: the wish, the other side's
// producer and our consumer at the time. As long as all three stay, the other
// side has been told, and telling it again at every poll until it has woken up
// is a waste. The consumer is part of it although it only grows: whoever
// fetches a later one in the middle of its change knows neither, and asks
// again. (model/ring.pml: wish, GRANTED_WITHOUT_CONSUMER.)
type answer struct {
	want, produced, consumer uint64
}

// wish takes over want_space from a header just fetched (W2). The word may be
// torn or a lie; more than the whole ring is never waited for.
func (r *receiver) wish(want uint32) {
	r.want = min(uint64(want), uint64(len(r.data)))
	if (r.granted == answer{r.want, r.produced, r.consumer}) {
		r.want = 0
	}
	r.grant()
}

// grant makes a notify due if as much is free as the other side wants, and
// forgets the wish then. (model/ring.pml: grant, NO_W2FETCH,
// NO_W2DISCARD.)
func (r *receiver) grant() {
	free := uint64(len(r.data)) - (r.produced - r.consumer)
	if r.want == 0 || free < r.want {
		return
	}
	r.granted = answer{r.want, r.produced, r.consumer}
	r.want = 0
	r.due.store()
}
