package payload

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// pair is a peer's connection, near, joined to one in the domain, far.
type pair struct {
	near, far net.Conn
	buffers   *buffers
	untaken   time.Duration // by the peer, and by the domain once the peer is gone
	// died reports whether an end that far has just come to is the death of the
	// program there; nil if nobody can tell.
	died func() bool

	accident
}

// run carries both ways until both directions are done, one is lost, or ctx is. It
// closes both connections.
func (p *pair) run(ctx context.Context) {
	defer p.rethrow()
	defer p.far.Close()
	defer p.near.Close()
	defer context.AfterFunc(ctx, p.breakOff)()
	// When the peer has closed both directions nobody wants far's words any more.
	w := newWatch(p.near, p.untaken, func() { closeRead(p.far) }, p.breakOff)
	ended := make(chan struct{})
	var both, watching sync.WaitGroup
	both.Go(p.careful(func() { p.in(&flow{src: p.near, dst: p.far, given: &w.given}) }, p.breakOff))
	both.Go(p.careful(func() { p.out(&flow{src: p.far, dst: p.near, untaken: p.untaken}) }, p.breakOff))
	watching.Go(p.careful(func() { w.run(ended) }, p.breakOff))
	both.Wait()
	close(ended)
	p.near.Close()
	watching.Wait()
}

// in is the direction into the domain.
func (p *pair) in(f *flow) {
	from, to := p.buffers.run(f)
	p.close(p.near, p.far, from, to)
}

// out is the direction to the peer.
func (p *pair) out(f *flow) {
	from, to := p.buffers.run(f)
	if from == nil && to == nil && p.died != nil && p.died() {
		p.breakOff()
		return
	}
	p.close(p.far, p.near, from, to)
}

// close carries the end of a direction on.
func (p *pair) close(src, dst net.Conn, from, to error) {
	switch {
	case from == nil && to == nil:
		if !closeWrite(dst) {
			dst.Close()
		}
	case errors.Is(to, syscall.EPIPE) && closeRead(src):
		// dst has shut its reading, and may still be sending.
	default:
		p.breakOff()
	}
}

// breakOff ends both directions. Who can tell a loss from an end is told.
func (p *pair) breakOff() {
	cut(p.near)
	cut(p.far)
}
