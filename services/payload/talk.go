package payload

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// talk is a connection with the program that was started for it.
//
//	both --peer ended its sending--> program's stdin closed
//	both --program closed stdout---> peer's reading ended
//	  any --program ended----------> rest of the output, then the connection's end
//	  any --connection lost, ctx---> program stopped
type talk struct {
	conn    net.Conn
	program *program
	buffers *buffers
	untaken time.Duration

	stdin          *os.File
	stdout, stderr *outlet

	once sync.Once
	lost chan struct{} // closed when the connection is
}

// run returns when the connection and the program have ended, and no goroutine,
// descriptor or process is left of them. After ctx is done it takes 4 s at most.
func (t *talk) run(ctx context.Context) {
	var input, output sync.WaitGroup
	input.Go(t.input)
	output.Go(t.output)
	output.Go(t.errors)
	said := make(chan struct{})
	go func() {
		defer close(said)
		output.Wait()
	}()
	select {
	case <-t.program.process.Done():
		within(said, restTime)
	case <-t.lost:
		t.program.stop()
	case <-ctx.Done():
		t.program.stop()
	}
	t.program.bury()
	t.stdout.finish()
	t.stderr.finish()
	if t.program.stopped {
		t.conn.Close() // it may be what output waits for
	}
	<-said // after the program's own end bounded by untaken, and by ctx
	t.conn.Close()
	t.stdin.Close()
	input.Wait()
	t.stdout.Close()
	t.stderr.Close()
}

// input carries from the peer to the program. A program that reads no more does not
// keep the peer's loss from being noticed.
func (t *talk) input() {
	from, to := t.buffers.run(&flow{src: t.conn, dst: t.stdin})
	t.stdin.Close()
	if to != nil {
		from, _ = t.buffers.run(&flow{src: t.conn, dst: drop{}})
	}
	if from != nil {
		t.lose()
	}
}

// output carries from the program to the peer.
func (t *talk) output() {
	_, to := t.buffers.run(&flow{src: t.stdout, dst: t.conn, ask: true, untaken: t.untaken})
	switch {
	case to == nil:
		closeWrite(t.conn)
	case errors.Is(to, syscall.EPIPE):
		t.stdout.Close() // the peer reads no more: SIGPIPE for who still writes
	default:
		t.lose()
	}
}

// errors carries what the program says to the log.
func (t *talk) errors() {
	l := &lines{voice: t.program.voice, pid: t.program.process.PID()}
	var buffer [4 << 10]byte
	(&flow{src: t.stderr, dst: l}).run(buffer[:])
	l.flush()
}

// lose says that the connection is lost. After the program's end it means nothing.
func (t *talk) lose() { t.once.Do(func() { close(t.lost) }) }

// closeWrite tells the other end that no more comes, where it can be said apart from
// the connection's end.
func closeWrite(c io.Writer) bool {
	half, can := c.(interface{ CloseWrite() error })
	return can && half.CloseWrite() == nil
}
