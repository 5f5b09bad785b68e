package splice

import (
	"net"
	"sync/atomic"
	"time"
)

// teller is a connection that tells its end, as a vsock.Conn does. Of any other a loss
// is seen by the flows alone, when they read or write.
type teller interface {
	// Done is closed when the connection carries nothing more.
	Done() <-chan struct{}
	// Err is then nil if both directions had ended, else why they were lost.
	Err() error
}

// Watch notices that the peer of a connection is gone, whichever of the flows runs
// and whatever it waits for:
//
//	there --reset, or its link lost--------------------------------------> lost
//	  |                                                                     ^
//	  +-----both directions ended--> over --nothing given for the grace-----+
//
// Where the peer has closed in order, what it sent last is still given, as long as
// somebody takes it.
type Watch struct {
	Given atomic.Int64 // bytes of the peer's, see Flow

	conn  net.Conn
	grace time.Duration
	over  func()
	lose  func(why error)

	halves atomic.Int32  // directions whose flow has ended in order
	both   chan struct{} // closed when that is both
}

// NewWatch returns a Watch of conn. Over is called once, when both directions have ended,
// and may be nil; lose is called when the peer is lost. With a grace of 0 it is never
// too late to take what the peer sent last.
func NewWatch(conn net.Conn, grace time.Duration, over func(), lose func(why error)) *Watch {
	return &Watch{conn: conn, grace: grace, over: over, lose: lose, both: make(chan struct{})}
}

// Half notes that the flow of one direction has ended in order.
func (w *Watch) Half() {
	if w.halves.Add(1) == 2 {
		close(w.both)
	}
}

// Run watches until the peer is lost, or stop is closed. It may wait for the
// connection, so that who closes stop closes that too.
func (w *Watch) Run(stop <-chan struct{}) {
	var done <-chan struct{}
	t, tells := w.conn.(teller)
	if tells {
		done = t.Done()
	}
	select {
	case <-stop:
	case <-w.both:
		w.linger(stop)
	case <-done:
		if err := t.Err(); err != nil {
			w.lose(err)
		} else {
			w.linger(stop)
		}
	}
}

// linger waits until the grace has passed without anything given.
func (w *Watch) linger(stop <-chan struct{}) {
	if w.over != nil {
		w.over()
	}
	if w.grace <= 0 {
		<-stop
		return
	}
	ticker := time.NewTicker(w.grace)
	defer ticker.Stop()
	for last := w.Given.Load(); ; {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		now := w.Given.Load()
		if now == last {
			w.lose(ErrGone)
			return
		}
		last = now
	}
}
