package afvsock

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"xvsock/mux"
	"xvsock/vsock"
)

const (
	// maxLate bounds the REQUESTs that wait for a link. It is as many as a link takes
	// connections: programs may begin that many before there is one.
	maxLate = mux.DefaultMaxConns
	// lateTime is how long a REQUEST waits for a link. The program gives up after 2 s
	// unless it set another time (SO_VM_SOCKETS_CONNECT_TIMEOUT).
	lateTime = 10 * time.Second
	// latePause is between two attempts if a link was lost as soon as it was made.
	latePause = 100 * time.Millisecond
)

// late is REQUESTs of the kernel for which there is no link yet.
type late struct {
	count atomic.Int32 // of requests; read without mu

	mu       sync.Mutex
	requests []lateRequest
	serving  bool // reach runs
}

type lateRequest struct {
	packet mux.Packet
	until  time.Time
}

// postpone keeps a REQUEST until there is a link.
func (i *instance) postpone(p mux.Packet) {
	if !i.keep(lateRequest{packet: p, until: time.Now().Add(lateTime)}) {
		i.refuse(p)
	}
}

// keep returns false if there are too many.
func (i *instance) keep(r lateRequest) bool {
	l := &i.late
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.requests) >= maxLate {
		return false
	}
	l.requests = append(l.requests, r)
	l.count.Store(int32(len(l.requests)))
	if !l.serving {
		l.serving = true
		i.work.Go(func() { i.guard(i.reach) })
	}
	return true
}

// forget drops the REQUEST of p's connection that still waits: the kernel has begun
// it anew, or given it up.
func (i *instance) forget(p mux.Packet) {
	i.late.take(func(r lateRequest) bool {
		return r.packet.Local == p.Local && r.packet.Remote == p.Remote
	})
}

// take removes the requests that match.
func (l *late) take(match func(lateRequest) bool) (taken []lateRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.requests[:0]
	for _, r := range l.requests {
		if match(r) {
			taken = append(taken, r)
		} else {
			kept = append(kept, r)
		}
	}
	l.requests = kept
	l.count.Store(int32(len(kept)))
	return taken
}

// first returns the request that waits longest; false: none does, and reach ends.
func (l *late) first() (lateRequest, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.requests) == 0 {
		l.requests, l.serving = nil, false
		return lateRequest{}, false
	}
	return l.requests[0], true
}

// reach has a link made, for all requests together, and sends them. The Stack may
// refuse one port and allow another, so an error is about one port only.
func (i *instance) reach() {
	for i.ctx.Err() == nil {
		first, ok := i.late.first()
		if !ok {
			return
		}
		ctx, cancel := context.WithDeadline(i.ctx, first.until)
		err := i.stack.Reach(ctx, vsock.Addr{CID: i.peer.CID, Port: first.packet.Remote})
		cancel()
		if err == nil {
			i.sendLate()
			continue
		}
		now := time.Now()
		for _, r := range i.late.take(func(r lateRequest) bool {
			return r.packet.Remote == first.packet.Remote || !now.Before(r.until)
		}) {
			i.refuse(r.packet)
		}
	}
}

// sendLate sends all requests. Those for which the link is gone again wait on, if
// their time is not over.
func (i *instance) sendLate() {
	again := false
	for _, r := range i.late.take(func(lateRequest) bool { return true }) {
		err := i.stack.Send(i.peer.CID, i, r.packet, nil)
		switch {
		case err == nil:
			i.tally.sent(r.packet, 0)
		case errors.Is(err, vsock.ErrNoLink) && time.Now().Before(r.until) && i.keep(r):
			again = true
		default:
			i.refuse(r.packet)
		}
	}
	if again {
		select {
		case <-i.ctx.Done():
		case <-time.After(latePause):
		}
	}
}
