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
	acceptPause      = 100 * time.Millisecond // after a failed accept, such as for want of descriptors
	acceptFailures   = 20                     // in a row before the listener is given up
)

// Acceptor is the accept loop of a service: it serves each connection in a
// goroutine of its own, within bounds, and lets a panic end that connection
// only. The fields are not changed once Serve was called.
type Acceptor struct {
	// Handle serves one connection, which is closed when it returns. It must
	// return soon after ctx is done; the connection is closed then too.
	Handle func(ctx context.Context, conn net.Conn, caller Caller)
	// Identify tells who is calling. Without it nobody is served.
	Identify Identify
	// PerDomain and Total bound the open connections: of one domain (0: 8) and
	// in all (0: 1024). The newest connection over a bound is closed at once.
	PerDomain, Total int
	// Log is told of panics and refusals; nil for silence.
	Log *slog.Logger

	refused atomic.Uint64
	panics  atomic.Uint64
}

// Refused returns how many connections were closed unserved.
func (a *Acceptor) Refused() uint64 { return a.refused.Load() }

// Panics returns how many connections ended in a panic. Each is a bug.
func (a *Acceptor) Panics() uint64 { return a.panics.Load() }

// Serve accepts from l until ctx is done, which gives nil, or the listener
// fails. It closes l and all connections, and returns when their handlers have.
func (a *Acceptor) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var handlers sync.WaitGroup
	defer handlers.Wait()
	defer cancel()
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()

	quota := NewQuota(cmp.Or(a.PerDomain, defaultPerDomain), cmp.Or(a.Total, defaultTotal))
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
			a.start(ctx, &handlers, quota, conn)
		case errors.Is(err, net.ErrClosed) || failures >= acceptFailures:
			return fmt.Errorf("accept: %w", err)
		default:
			failures++
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
		}
	}
}

func (a *Acceptor) start(ctx context.Context, handlers *sync.WaitGroup, quota *Quota, conn net.Conn) {
	var caller Caller
	known := false
	if a.Identify != nil {
		caller, known = a.Identify(conn)
	}
	if !known || !quota.Acquire(caller.Domain) {
		a.refused.Add(1)
		a.logger().Debug("connection refused", "domain", caller.Domain, "known", known)
		conn.Close()
		return
	}
	handlers.Go(func() {
		defer quota.Release(caller.Domain)
		a.handle(ctx, conn, caller)
	})
}

func (a *Acceptor) handle(ctx context.Context, conn net.Conn, caller Caller) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	// The last resort against a bug that a peer found: it costs the peer its
	// connection, and nobody else anything.
	defer func() {
		if p := recover(); p != nil {
			a.panics.Add(1)
			a.logger().Error("connection handler panicked", "domain", caller.Domain,
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	a.Handle(ctx, conn, caller)
}

func (a *Acceptor) logger() *slog.Logger {
	if a.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return a.Log
}
