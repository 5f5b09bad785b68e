package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Dial makes one connection to where a Server answers. Connections of Stream and Many
// must have CloseWrite.
type Dial func(context.Context) (net.Conn, error)

// stallTime is how often it is looked whether anything moves at all.
const stallTime = 10 * time.Second

var (
	// ErrStalled says that nothing went on any more.
	ErrStalled = errors.New("nothing moves any more")

	errLate = errors.New("not done in time")
)

// Run does what the plan says over connections that dial makes, and returns what it
// found. look, which may be nil, returns the counters beside; it is called before and
// after what is measured.
//
// The error wraps ErrPlan, what dial returned, ErrNotBench, ErrFull, ErrStalled, or is
// the cause of the end of ctx. No connection and no goroutine is left.
func Run(ctx context.Context, dial Dial, p Plan, look func() Counters) (Result, error) {
	if err := p.Check(); err != nil {
		return Result{}, err
	}
	p = p.filled()
	ctx, late := context.WithTimeoutCause(ctx, p.Limit(), errLate)
	defer late()
	ctx, cancel := context.WithCancelCause(ctx)
	t := &trial{Plan: p, ctx: ctx, fail: cancel, dial: dial, look: look}
	unwatch := context.AfterFunc(ctx, t.cut)
	t.tasks.Go(t.watch)
	r, err := t.run()
	if cause := context.Cause(ctx); cause != nil {
		err = cause // of which err is only what the connections make
	}
	cancel(nil)
	unwatch()
	t.cut()
	t.tasks.Wait()
	return r, err
}

// trial is a measurement under way.
type trial struct {
	Plan
	ctx   context.Context
	fail  context.CancelCauseFunc // ends ctx
	dial  Dial
	look  func() Counters
	first time.Duration // that the first connection took

	tasks sync.WaitGroup

	mu     sync.Mutex
	over   bool // no more connections
	conns  []net.Conn
	moving []*atomic.Uint64 // what grows as long as something moves
}

// run does what the plan says.
func (t *trial) run() (Result, error) {
	r := Result{Case: t.Case, Size: t.Size, Conns: t.Conns, Bulk: t.Bulk, Lot: t.Lot, Back: t.Reverse}
	var err error
	switch t.Case {
	case RoundTrip:
		err = t.roundTrips(&r)
	case Connect:
		r.Size = 0
		err = t.connects(&r)
	default:
		err = t.streamed(&r)
	}
	r.First = micros(t.first)
	if r.Seconds > 0 {
		r.Rate = float64(r.Count) / r.Seconds
	}
	return r, err
}

// open makes a connection for the given use. The trial closes it in the end.
func (t *trial) open(k kind, size int) (net.Conn, error) {
	begin := time.Now()
	c, err := t.dial(t.ctx)
	if err != nil {
		return nil, t.nth(err)
	}
	if t.first == 0 {
		t.first = time.Since(begin)
	}
	if !t.keep(c) {
		c.Close()
		return nil, context.Cause(t.ctx)
	}
	return c, t.nth(hello{kind: k, size: size, time: t.Limit()}.say(c))
}

// nth says with an error how many connections there are already.
func (t *trial) nth(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.conns); err != nil && n > 1 {
		return fmt.Errorf("with %d connections: %w", n, err)
	}
	return err
}

// keep remembers a connection for cut; false if that was called already.
func (t *trial) keep(c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.over {
		t.conns = append(t.conns, c)
	}
	return !t.over
}

// drop closes the connection that was opened last; nil is none.
func (t *trial) drop(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c != nil && !t.over {
		t.conns = t.conns[:len(t.conns)-1]
		c.Close()
	}
}

// cut closes all connections, at the end and to make whoever waits at one return.
func (t *trial) cut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	for _, c := range t.conns {
		c.Close()
	}
}

// mover returns a counter that its owner keeps growing.
func (t *trial) mover() *atomic.Uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := new(atomic.Uint64)
	t.moving = append(t.moving, m)
	return m
}

// moved is how much was done.
func (t *trial) moved() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := uint64(len(t.conns))
	for _, m := range t.moving {
		sum += m.Load()
	}
	return sum
}

// watch ends the trial when nothing moves any more.
func (t *trial) watch() {
	tick := time.NewTicker(stallTime)
	defer tick.Stop()
	for last := t.moved(); ; {
		select {
		case <-t.ctx.Done():
			return
		case <-tick.C:
		}
		now := t.moved()
		if now == last {
			t.fail(fmt.Errorf("%w: nothing for %v", ErrStalled, stallTime))
			return
		}
		last = now
	}
}
