package bench

import (
	"fmt"
	"time"
)

// pace is after how many connections the server must have taken all of them, fewer than
// a listener keeps waiting.
const pace = MaxConnectLot + 1

// connects measures how fast connections are made and closed, while another one keeps
// the link. The rate is one that the server keeps up with; the times are without the
// waiting for that.
func (t *trial) connects(r *Result) error {
	if _, err := t.open(kindEcho, requestSize); err != nil {
		return err
	}
	moved, times := t.mover(), newSample()
	m := t.before()
	var n, untaken uint64
	var took time.Duration
	for begin := time.Now(); took < t.Time && (t.Count == 0 || n < t.Count); {
		lot := uint64(t.Lot)
		if t.Count > 0 {
			lot = min(lot, t.Count-n)
		}
		if untaken+lot >= pace {
			if err := t.taken(); err != nil {
				return fmt.Errorf("after %d connections: %w", n, err)
			}
			n, untaken, took = n+1, 0, time.Since(begin)
			continue
		}
		if err := t.connect(lot); err != nil {
			return fmt.Errorf("after %d connections: %w", n, err)
		}
		n, untaken = n+lot, untaken+lot
		moved.Store(n)
		now := time.Since(begin)
		times.add((now - took) / time.Duration(lot))
		took = now
	}
	r.Count, r.Seconds = n, took.Seconds()
	m.after(t, r, float64(n), perConnection)
	r.Percentiles = times.percentiles()
	return nil
}

// connect makes and closes connections.
func (t *trial) connect(n uint64) error {
	for range n {
		c, err := t.dial(t.ctx)
		if err != nil {
			return err
		}
		c.Close()
	}
	return nil
}

// taken makes a connection, and returns when the server has taken it and thus all
// before it.
func (t *trial) taken() error {
	c, err := t.open(kindEcho, requestSize)
	t.drop(c)
	return err
}
