package payload

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"xvsock/splice"
)

// talk is a connection with the program that was started for it.
//
//	both --peer ended its sending--> program's stdin closed
//	both --program closed stdout---> peer's reading ended
//	  any --program exited---------> rest of the output, then the connection's end
//	  any --program was killed-----> rest of the output, then the connection's reset
//	  any --peer gone (see splice.Watch)--> program stopped, connection reset
//	  any --ctx--------------------> the same
type talk struct {
	conn    net.Conn
	program *program
	buffers *splice.Buffers
	untaken time.Duration

	stdin          *os.File
	stdout, stderr *outlet

	watch *splice.Watch
	once  sync.Once
	lost  chan struct{} // closed when the peer is

	// ledBy says that the peer has ended a direction while the program ran.
	ledBy atomic.Bool
	hung  sync.Once
	heard bool // the program has read something; known once stdin is closed

	splice.Accident
}

// newTalk makes the talk of a connection with a program that runs; ours are our ends
// of its three pipes.
func newTalk(conn net.Conn, p *program, ours [3]*os.File, c *Config, b *splice.Buffers) *talk {
	t := &talk{
		conn: conn, program: p, buffers: b, untaken: c.Untaken,
		stdin: ours[0], stdout: newOutlet(ours[1]), stderr: newOutlet(ours[2]),
		lost: make(chan struct{}),
	}
	t.watch = splice.NewWatch(conn, c.Grace, nil, func(error) { t.lose() })
	return t
}

// run returns when the connection and the program have ended, and no goroutine,
// descriptor or process is left of them. After ctx is done it takes 4 s at most. Own
// reports whether the program's end was its own doing: not ours, and none that the
// peer had a part in.
func (t *talk) run(ctx context.Context) (own bool) {
	defer t.Rethrow()
	var input, output, watching sync.WaitGroup
	input.Go(t.Careful(t.input, t.lose))
	output.Go(t.Careful(t.output, t.lose))
	output.Go(t.Careful(t.errors, t.lose))
	ended, said := make(chan struct{}), make(chan struct{})
	watching.Go(t.Careful(func() { t.watch.Run(ended) }, t.lose))
	go func() {
		defer close(said)
		output.Wait()
	}()
	select {
	case <-t.program.process.Done():
		own = !t.ledBy.Load() && t.program.ended()
		within(said, restTime)
	case <-t.lost:
		t.program.stop()
	case <-ctx.Done():
		t.program.stop()
	}
	t.program.bury()
	t.stdout.finish()
	t.stderr.finish()
	if t.program.stopped.Load() {
		within(said, drainTime)
		splice.Cut(t.conn) // it may be what output waits for
	}
	<-said // after the program's own end bounded by untaken, and by ctx
	t.hangUp(own)
	if t.program.killed() {
		splice.Cut(t.conn)
	}
	t.conn.Close()
	close(ended)
	input.Wait()
	watching.Wait()
	t.stdout.Close()
	t.stderr.Close()
	return own && !t.heard
}

// input carries from the peer to the program. To one that reads no more the peer may
// go on sending.
func (t *talk) input() {
	from, to := t.buffers.Run(&splice.Flow{Src: t.conn, Dst: t.stdin, Given: &t.watch.Given})
	if to != nil {
		t.hangUp(true)
		from, _ = t.buffers.Run(&splice.Flow{Src: t.conn, Dst: splice.Drop{}})
	}
	t.hangUp(!t.led())
	if from != nil {
		t.lose()
		return
	}
	t.watch.Half()
}

// led notes that the peer has ended a direction, unless the program had ended before.
func (t *talk) led() bool {
	if within(t.program.process.Done(), 0) {
		return false
	}
	t.ledBy.Store(true)
	return true
}

// hangUp closes the program's standard input. Deaf says that the program reads no more,
// so that what it has not read can be told.
func (t *talk) hangUp(deaf bool) {
	t.hung.Do(func() {
		given := t.watch.Given.Load()
		t.heard = !deaf || given > 0 && given > int64(drain(t.stdin))
		t.stdin.Close()
	})
}

// output carries from the program to the peer. How the connection ends after the
// death of the program is decided when that is known.
func (t *talk) output() {
	from, to := t.buffers.Run(&splice.Flow{Src: t.stdout, Dst: t.conn, Untaken: t.untaken})
	switch {
	case to == nil && from == nil:
		if t.program.stopped.Load() || t.program.died() {
			return
		}
		splice.CloseWrite(t.conn)
	case errors.Is(to, syscall.EPIPE):
		t.led()
		t.stdout.Close() // the peer reads no more: SIGPIPE for who still writes
	default:
		t.lose()
		return
	}
	t.watch.Half()
}

// errors carries what the program says to the log.
func (t *talk) errors() {
	l := &lines{voice: t.program.voice, pid: t.program.process.PID()}
	var buffer [4 << 10]byte
	(&splice.Flow{Src: t.stderr, Dst: l}).Run(buffer[:])
	l.flush()
}

// lose says that the peer is lost. After the program's end it means nothing.
func (t *talk) lose() { t.once.Do(func() { close(t.lost) }) }
