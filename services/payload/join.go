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
	untaken   time.Duration // by the peer
}

// run carries both ways until both directions are done, one is lost, or ctx is. It
// closes both connections.
func (p *pair) run(ctx context.Context) {
	defer p.far.Close()
	defer p.near.Close()
	defer context.AfterFunc(ctx, p.breakOff)()
	var both sync.WaitGroup
	both.Go(func() { p.carry(p.near, p.far, &flow{src: p.near, dst: p.far}) })
	both.Go(func() { p.carry(p.far, p.near, &flow{src: p.far, dst: p.near, ask: true, untaken: p.untaken}) })
	both.Wait()
}

// carry is one direction.
func (p *pair) carry(src, dst net.Conn, f *flow) {
	from, to := p.buffers.run(f)
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

// breakOff ends both directions. Where the far end can tell a loss from an end, it is
// told.
func (p *pair) breakOff() {
	if tcp, ok := p.far.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // RST
	}
	p.near.Close()
	p.far.Close()
}

// closeRead tells the other end that nothing more is read.
func closeRead(c net.Conn) bool {
	half, can := c.(interface{ CloseRead() error })
	return can && half.CloseRead() == nil
}
