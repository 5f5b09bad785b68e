package splice

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// Why a Pair was broken off.
var (
	// ErrDied says that the program behind Far was killed, see Pair.Died.
	ErrDied = errors.New("the program was killed")
	// ErrGone says that the peer is gone, and the program takes nothing of what it
	// had sent.
	ErrGone = errors.New("the peer is gone, and the program takes nothing")
)

// Pair is a peer's connection joined to one of a program in the domain:
//
//	Near --in--> Far     as long as Near lives Far may leave it untaken
//	Near <--out-- Far    what Near leaves untaken for Untaken ends both
type Pair struct {
	Near, Far net.Conn
	// Buffers are whose the two buffers are.
	Buffers *Buffers
	// Untaken is how long Near may leave what is written to it, and Far what Near has
	// sent once that is gone: at least half of it passes, at most twice that. 0: for ever.
	Untaken time.Duration
	// Died reports whether an end that Far has just come to is the death of the program
	// there; nil if nobody can tell.
	Died func() bool

	accident Accident
	waiting  sync.WaitGroup // for a side to hang up
	once     sync.Once
	why      error
}

// Run carries both ways until both directions are done, one is lost, or ctx is. It
// closes both connections, and no goroutine is left. It returns nil if both directions
// ended in order, else why not: what a side's Read or Write gave, ErrDied, ErrGone or
// the cause of ctx. It is called once.
func (p *Pair) Run(ctx context.Context) error {
	defer p.accident.Rethrow()
	defer p.waiting.Wait()
	defer p.Far.Close()
	defer p.Near.Close()
	defer context.AfterFunc(ctx, func() { p.breakOff(context.Cause(ctx)) })()
	// When the peer has closed both directions nobody wants Far's words any more.
	w := NewWatch(p.Near, p.Untaken, func() { CloseRead(p.Far) }, p.breakOff)
	ended := make(chan struct{})
	var both, watching sync.WaitGroup
	both.Go(p.careful(func() { p.in(&Flow{Src: p.Near, Dst: p.Far, Given: &w.Given}) }))
	both.Go(p.careful(func() { p.out(&Flow{Src: p.Far, Dst: p.Near, Untaken: p.Untaken}) }))
	watching.Go(p.careful(func() { w.Run(ended) }))
	both.Wait()
	close(ended)
	p.Near.Close()
	watching.Wait()
	return p.reason()
}

// in is the direction into the domain.
func (p *Pair) in(f *Flow) {
	from, to := p.Buffers.Run(f)
	p.close(p.Near, p.Far, from, to)
}

// out is the direction to the peer.
func (p *Pair) out(f *Flow) {
	from, to := p.Buffers.Run(f)
	if from == nil && to == nil && p.Died != nil && p.Died() {
		p.breakOff(ErrDied)
		return
	}
	p.close(p.Far, p.Near, from, to)
}

// close carries the end of a direction on.
func (p *Pair) close(src, dst net.Conn, from, to error) {
	switch {
	case from == nil && to == nil:
		if !CloseWrite(dst) {
			dst.Close()
		}
		p.waiting.Go(p.careful(func() {
			if AwaitHangUp(src) == nil {
				CloseRead(dst) // nobody is there to read it
			}
		}))
	case errors.Is(to, syscall.EPIPE) && CloseRead(src):
		// dst has shut its reading, and may still be sending. A writer that waits for
		// room at a unix socket is told when there is some.
		_, _ = p.Buffers.Run(&Flow{Src: src, Dst: Drop{}})
	default:
		p.breakOff(errors.Join(from, to))
	}
}

// breakOff ends both directions. Who can tell a loss from an end is told.
func (p *Pair) breakOff(why error) {
	p.once.Do(func() { p.why = why })
	Cut(p.Near)
	Cut(p.Far)
}

// reason is why the pair was broken off, nil if it was not, for good.
func (p *Pair) reason() error {
	p.once.Do(func() {})
	return p.why
}

func (p *Pair) careful(f func()) func() {
	return p.accident.Careful(f, func() { p.breakOff(ErrPanic) })
}
