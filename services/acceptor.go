package services

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultPerDomain = 8
	defaultTotal     = 1024

	acceptPause    = 100 * time.Millisecond // after a failed accept
	acceptFailures = 20                     // in a row before the listener is given up
	shortageTime   = time.Minute            // how often a shortage is spoken of
)

// Acceptor is the accept loop of a service: it serves each connection in a
// goroutine of its own, within bounds, and lets a panic end that connection
// only. While the process is out of descriptors or memory (Shortage) it waits, for as
// long as that takes. The fields are not changed once Serve was called.
type Acceptor struct {
	// Handle serves one connection, which is closed when it returns. It must
	// return soon after ctx is done; the connection is cut then too.
	Handle func(ctx context.Context, conn net.Conn, caller Caller)
	// Identify tells who is calling. Without it nobody is served.
	Identify Identify
	// PerDomain and Total bound the open connections: of one domain (0: 8) and
	// in all (0: 1024). The newest connection over a bound is closed at once.
	PerDomain, Total int
	// Cut ends a connection that is refused, whose handler has panicked, or whose
	// time is over before its handler has returned; nil: its Close. It is for
	// services whose peers must not take that for an orderly end. It may be called
	// beside the handler, and for a connection that is closed.
	Cut func(net.Conn)
	// Outlive lets the connections go on when Serve ends because its listener
	// was closed or fails. Then the end of the context of a later Serve ends
	// them, or Close.
	Outlive bool
	// Log is told of panics and refusals; nil for silence.
	Log *slog.Logger

	served  atomic.Uint64
	refused atomic.Uint64
	panics  atomic.Uint64

	mu       sync.Mutex
	quota    *Quota             // of the connections of all Serves
	life     context.Context    // of the connections; nil when there may be none
	end      context.CancelFunc // ends life
	handlers sync.WaitGroup
}

// Counts implements Counter for the service whose acceptor it is.
func (a *Acceptor) Counts() (open, served, refused, panics uint64) {
	return uint64(a.bounds().Held()), a.served.Load(), a.refused.Load(), a.panics.Load()
}

// Serve accepts from l until ctx is done, which gives nil, or the listener
// fails. It closes l and, unless they may outlive it, all connections, and
// returns when their handlers have. It is not called twice at once.
func (a *Acceptor) Serve(ctx context.Context, l net.Listener) error {
	life := a.begin(ctx)
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	err := a.accept(ctx, life, l)
	if err == nil || !a.Outlive {
		a.Close()
	}
	return err
}

// Close ends all connections and returns nil when their handlers have returned. It
// is for those that Outlive left, and called when no Serve runs.
func (a *Acceptor) Close() error {
	a.mu.Lock()
	if a.end != nil {
		a.end()
	}
	a.life, a.end = nil, nil
	a.mu.Unlock()
	a.Wait()
	return nil
}

// Wait returns when all connections that Outlive left have ended by themselves, or
// by Close. It is called when no Serve runs.
func (a *Acceptor) Wait() { a.handlers.Wait() }

// begin returns the context of connections, a new one if there are none.
func (a *Acceptor) begin(ctx context.Context) context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.life == nil {
		a.life, a.end = context.WithCancel(context.WithoutCancel(ctx))
	}
	return a.life
}

// bounds returns the quota of all connections.
func (a *Acceptor) bounds() *Quota {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.quota == nil {
		a.quota = NewQuota(cmp.Or(a.PerDomain, defaultPerDomain), cmp.Or(a.Total, defaultTotal))
	}
	return a.quota
}

// accept is the loop. Connections live as long as life.
func (a *Acceptor) accept(ctx, life context.Context, l net.Listener) error {
	var said time.Time // when a shortage was last spoken of
	for failures := 0; ; {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case err == nil:
			failures = 0
			a.start(life, conn)
			continue
		case Shortage(err):
			// Peers can bring it about. It is no fault of the listener, which to
			// give up may be the end of more than this service.
			if time.Since(said) >= shortageTime {
				said = time.Now()
				a.logger().Warn("cannot accept connections for now", "error", err)
			}
		case errors.Is(err, net.ErrClosed) || failures >= acceptFailures:
			return fmt.Errorf("accept: %w", err)
		default:
			failures++
		}
		select {
		case <-ctx.Done():
		case <-time.After(acceptPause):
		}
	}
}

func (a *Acceptor) start(life context.Context, conn net.Conn) {
	var caller Caller
	known := false
	if a.Identify != nil {
		caller, known = a.Identify(conn)
	}
	quota := a.bounds()
	if !known || !quota.Acquire(caller.Domain) {
		a.refused.Add(1)
		a.logger().Debug("connection refused", "domain", caller.Domain, "known", known)
		a.cut(conn)
		return
	}
	a.served.Add(1)
	a.handlers.Go(func() {
		defer quota.Release(caller.Domain)
		a.handle(life, conn, caller)
	})
}

func (a *Acceptor) handle(ctx context.Context, conn net.Conn, caller Caller) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { a.cut(conn) })()
	// The last resort against a bug that a peer found: it costs the peer its
	// connection, and nobody else anything.
	defer func() {
		if p := recover(); p != nil {
			a.cut(conn)
			a.panics.Add(1)
			a.logger().Error("connection handler panicked", "domain", caller.Domain,
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	a.Handle(ctx, conn, caller)
}

// cut ends a connection before its handler has.
func (a *Acceptor) cut(conn net.Conn) {
	if a.Cut == nil {
		conn.Close()
		return
	}
	a.Cut(conn)
}

func (a *Acceptor) logger() *slog.Logger {
	if a.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return a.Log
}
