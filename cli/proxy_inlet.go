package cli

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"xvsock/services"
)

// How long is waited before a listener is made again, which is at most the second after
// which a service manager starts the daemon again; and after a connection could not be
// taken for want of descriptors or memory.
const (
	relistenMin   = 100 * time.Millisecond
	relistenMax   = time.Second
	shortagePause = 100 * time.Millisecond
)

// inlet serves the connections that are taken at a local end, for as long as a program
// runs. A listener that is lost, as the daemon's is when that restarts, is made again:
//
//	listening --lost--> waiting (0.1 s, doubled to 1 s) --made--> listening
//	    ^                  ^----------not made-----'                 |
//	    '--------after 1 s the next wait is the first again----------'
type inlet struct {
	at    local
	most  int // connections at once
	warn  *warner
	serve func(context.Context, net.Conn) // which closes the connection

	slots    chan struct{}
	serving  sync.WaitGroup
	relisten backoff
}

// run serves until ctx ends, beginning with a listener at the local end. It returns when
// all connections have ended.
func (in *inlet) run(ctx context.Context, l net.Listener) {
	defer in.serving.Wait()
	in.slots = make(chan struct{}, in.most)
	for l != nil {
		in.relisten.begin()
		err := in.accept(ctx, l)
		l.Close()
		if ctx.Err() != nil {
			return
		}
		in.warn.warn("listener lost", "at", in.at.String(), "error", err)
		l = in.again(ctx)
	}
}

// again listens again. It returns nil when ctx ends.
func (in *inlet) again(ctx context.Context) net.Listener {
	for pause(ctx, in.relisten.next()) {
		l, err := in.at.listen(ctx)
		if err == nil {
			in.warn.log.Info("listening again", "at", in.at.String())
			return l
		}
		in.warn.warn("cannot listen", "at", in.at.String(), "error", err)
	}
	return nil
}

// accept serves what comes to a listener, until that is lost or ctx ends. Connections
// that there is no slot for are left to wait in the listener.
func (in *inlet) accept(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		select {
		case in.slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		conn, err := l.Accept()
		if err == nil {
			in.serving.Go(func() {
				defer func() { <-in.slots }()
				in.serve(ctx, conn)
			})
			continue
		}
		<-in.slots
		if !services.Shortage(err) {
			return err
		}
		in.warn.warn("cannot take a connection for now", "at", in.at.String(), "error", err)
		if !pause(ctx, shortagePause) {
			return err
		}
	}
}

// backoff is the pause before a listener is made again: it doubles, and is short again
// once a listener has lived for the longest pause.
type backoff struct {
	last  time.Duration
	began time.Time
}

// begin notes that there is a listener.
func (b *backoff) begin() { b.began = time.Now() }

// next returns the next pause.
func (b *backoff) next() time.Duration {
	if !b.began.IsZero() && time.Since(b.began) >= relistenMax {
		b.last = 0
	}
	b.began = time.Time{}
	b.last = min(max(2*b.last, relistenMin), relistenMax)
	return b.last
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// How often warnings are made: others can bring about what they are of.
const (
	warnEvery = 5 * time.Second
	warnBurst = 5
)

// warner makes warnings, but not too many.
type warner struct {
	log    *slog.Logger
	limit  *rate.Limiter
	unsaid atomic.Uint64 // since the last
}

func newWarner(log *slog.Logger) *warner {
	return &warner{log: log, limit: rate.NewLimiter(rate.Every(warnEvery), warnBurst)}
}

// warn says what went wrong, and of how much that was not said.
func (w *warner) warn(msg string, args ...any) {
	if !w.limit.Allow() {
		w.unsaid.Add(1)
		return
	}
	if n := w.unsaid.Swap(0); n > 0 {
		args = append(args, "not_said", n)
	}
	w.log.Warn(msg, args...)
}
