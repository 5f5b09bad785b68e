package ring_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// worker is one side of a running link: a goroutine that receives and sleeps
// on events, and one that sends and waits for room. There are no timers: a
// wake-up that is lost is a test that never ends.
type worker struct {
	*side
	event chan struct{} // an event channel's pending bit
	room  chan struct{} // the receiving goroutine saw news
	polls int           // fetches before sleeping; 0: never awake
}

func newWorker(s *side, polls int) *worker {
	return &worker{side: s, polls: polls, event: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// records yields the same lengths and payloads to the sender and the receiver
// of a direction.
type records struct {
	rng   *rand.Rand
	bulk  []byte
	limit int
}

func newRecords(seed uint64, limit int) *records {
	return &records{rng: rand.New(rand.NewPCG(seed, 1)), bulk: pattern(int(seed), limit+4096), limit: limit}
}

// next returns a record, mostly small, one in 256 up to the whole ring. It is
// valid until the next call.
func (r *records) next() []byte {
	n := 1 + r.rng.IntN(128)
	if r.rng.IntN(256) == 0 {
		n = 1 + r.rng.IntN(r.limit)
	}
	from := r.rng.IntN(4096)
	return r.bulk[from : from+n]
}

func (w *worker) sendAll(r *records, count int) error {
	for i := range count {
		record := r.next()
		a, b := w.Reserve(len(record))
		for wanted := false; a == nil; a, b = w.Reserve(len(record)) {
			if wanted {
				<-w.room
			}
			w.Want(len(record))
			wanted = true
			if err := w.Flush(); err != nil {
				return err
			}
		}
		copy(b, record[copy(a, record):])
		if err := w.Commit(len(record)); err != nil {
			return err
		}
		if i%8 == 7 || i == count-1 {
			w.Want(0)
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// receiveAll takes count records, and then stays until stop is closed: the
// sending goroutine of this side still needs its fetches.
func (w *worker) receiveAll(r *records, count int, done func(), stop <-chan struct{}) error {
	if count == 0 {
		done()
	}
	for record := r.next(); ; {
		news, err := w.Fetch()
		if err != nil {
			return err
		}
		for count > 0 {
			a, b, err := w.Peek(len(record))
			if err != nil {
				return err
			}
			n := len(record)
			if len(a)+len(b) < n {
				break
			}
			first := min(n, len(a))
			if !bytes.Equal(a[:first], record[:first]) || !bytes.Equal(b[:n-first], record[first:]) {
				return fmt.Errorf("record of %d bytes, %d to go, arrived otherwise", n, count)
			}
			w.Discard(n)
			if count--; count == 0 {
				done()
			}
			record = r.next()
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if news {
			signal(w.room)
			continue
		}
		if !w.sleep(stop) {
			return nil
		}
	}
}

// sleep waits for an event, W4's way. It returns false when the test is over.
func (w *worker) sleep(stop <-chan struct{}) bool {
	if w.polls > 0 {
		w.Awake(true)
		for range w.polls {
			if news, err := w.Fetch(); news || err != nil {
				w.Awake(false)
				signal(w.room)
				return true
			}
		}
		w.Awake(false)
		if news, err := w.Fetch(); news || err != nil {
			signal(w.room)
			return true
		}
		if w.Flush() != nil {
			return true
		}
	}
	select {
	case <-w.event:
		return true
	case <-stop:
		return false
	}
}

func run(t *testing.T, a, b *worker, size, count int) {
	a.onNotify = func() { signal(b.event) }
	b.onNotify = func() { signal(a.event) }
	stop := make(chan struct{})
	var received, all sync.WaitGroup
	received.Add(2)
	check := func(f func() error) {
		all.Go(func() {
			if err := f(); err != nil {
				t.Error(err)
			}
		})
	}
	check(func() error { return a.sendAll(newRecords(1, size), count) })
	check(func() error { return b.sendAll(newRecords(2, size), count) })
	check(func() error { return a.receiveAll(newRecords(2, size), count, received.Done, stop) })
	check(func() error { return b.receiveAll(newRecords(1, size), count, received.Done, stop) })
	received.Wait()
	close(stop)
	all.Wait()
}

// A million random records each way, the same seed on both ends.
func TestMillionRecords(t *testing.T) {
	count := 1_000_000
	if testing.Short() {
		count = 20_000
	}
	for _, kind := range []kind{copyMode, mapMode, frontLink} {
		for _, polls := range []int{0, 3} {
			t.Run(fmt.Sprintf("%s, %d polls", kind, polls), func(t *testing.T) {
				const size = 1 << 14
				a, b := newPair(t, kind, size)
				run(t, newWorker(a, polls), newWorker(b, polls), size, count)
			})
		}
	}
}
