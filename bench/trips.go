package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

var errOther = errors.New("other bytes came back than were sent")

// requester makes round trips over a connection.
type requester struct {
	conn    net.Conn
	out, in []byte
	lot     uint64
	moved   *atomic.Uint64
	times   *sample
	seq     uint64
}

// requester returns one over a connection of its own, for messages of size bytes.
func (t *trial) requester(size int) (*requester, error) {
	c, err := t.open(kindEcho, size)
	if err != nil {
		return nil, err
	}
	return &requester{
		conn: c, out: make([]byte, size), in: make([]byte, size), lot: uint64(t.Lot), moved: t.mover(), times: newSample(),
	}, nil
}

// trip sends a message and waits until it is back. So that an answer to another message
// is known, both its ends tell which one it is.
func (q *requester) trip() error {
	q.seq++
	mark, last := byte(q.seq), len(q.out)-1
	q.out[0], q.out[last] = mark, mark
	if _, err := q.conn.Write(q.out); err != nil {
		return fmt.Errorf("round trip %d: %w", q.seq, err)
	}
	if _, err := io.ReadFull(q.conn, q.in); err != nil {
		return fmt.Errorf("round trip %d: %w", q.seq, err)
	}
	if q.in[0] != mark || q.in[last] != mark {
		return fmt.Errorf("round trip %d: %w", q.seq, errOther)
	}
	q.moved.Store(q.seq)
	return nil
}

// run makes round trips until it has made count (0: no bound), limit has passed (0: no
// bound), or stop is set, and returns how many, and in what time.
func (q *requester) run(count uint64, limit time.Duration, stop *atomic.Bool) (n uint64, took time.Duration, err error) {
	begin := time.Now()
	for !stop.Load() && (count == 0 || n < count) && (limit == 0 || took < limit) {
		lot := q.lot
		if count > 0 {
			lot = min(lot, count-n)
		}
		for range lot {
			if err := q.trip(); err != nil {
				return n, took, err
			}
		}
		n += lot
		now := time.Since(begin)
		q.times.add((now - took) / time.Duration(lot))
		took = now
	}
	return n, took, nil
}

// roundTrips measures round trips, beside streams if there are to be any.
func (t *trial) roundTrips(r *Result) error {
	q, err := t.requester(t.Size)
	if err != nil {
		return err
	}
	if err := t.openIdle(); err != nil {
		return err
	}
	beside, err := t.openStreams()
	if err != nil {
		return err
	}
	beside.start(0)
	if _, _, err := q.run(t.warmupCount(), t.warmup(), &beside.stop); err != nil {
		return err
	}
	q.times.reset()
	m := t.before()
	n, took, err := q.run(t.Count, t.Time, &beside.stop)
	if err != nil {
		return err
	}
	r.Count, r.Seconds = n, took.Seconds()
	m.after(t, r, float64(n), perTrip)
	r.Percentiles = q.times.percentiles()
	beside.stop.Store(true)
	beside.going.Wait()
	beside.result(r)
	return nil
}

// openIdle opens the connections that lie idle.
func (t *trial) openIdle() error {
	for range t.idle() {
		if _, err := t.open(kindEcho, requestSize); err != nil {
			return err
		}
	}
	return nil
}
