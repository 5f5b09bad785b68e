package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/splice"
)

// talk is a connection joined to standard input and output. Each direction ends by
// itself:
//
//	in  --> conn    the end of in ends the sending side
//	out <-- conn    the other end's end of sending closes out
//
// Whoever calls may be about to end the process: a read of standard input cannot be
// interrupted without changing a file that other processes have too, and may be left
// behind.
type talk struct {
	conn net.Conn
	in   io.Reader
	out  io.Writer
	idle time.Duration // after which a talk that carries nothing is ended; 0: never

	began    time.Time
	moved    atomic.Int64 // when something last was, in nanoseconds since began
	offering atomic.Bool  // something of in is being read, or was and is not sent yet
}

// run carries until both directions have ended, or one fails. The caller closes the
// connection.
func (t *talk) run(ctx context.Context) (err error) {
	t.began = time.Now()
	sent, received, gone := make(chan error, 1), make(chan error, 1), make(chan struct{})
	go func() { sent <- t.send() }()
	go func() {
		err := t.receive()
		received <- err
		if err == nil && splice.AwaitHangUp(t.conn) == nil {
			close(gone)
		}
	}()
	quiet, stop := t.watch()
	defer stop()
	defer func() {
		if err != nil {
			splice.Cut(t.conn)
		}
	}()
	return t.wait(ctx, sent, received, gone, quiet)
}

// wait waits for the end of both directions. Gone is closed when the other end has
// closed the connection, and received has told that it ended in order.
func (t *talk) wait(ctx context.Context, sent, received <-chan error, gone, quiet <-chan struct{}) error {
	var unsent error
	for in, out := true, true; in || out; {
		select {
		case err := <-sent:
			// Who takes nothing more may still be sending.
			if in = false; err != nil && !errors.Is(err, errUntaken) {
				return err
			}
			unsent = err
		case err := <-received:
			if out = false; err != nil {
				return err
			}
		case <-gone:
			// Nobody is there to take what standard input may still say. What it has said
			// already was not taken, which sent tells; or that is the end, which sent tells too.
			if gone = nil; !waiting(t.in) && !t.offering.Load() {
				return unsent
			}
		case <-quiet:
			return fmt.Errorf("nothing was sent or received for %v", t.idle)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return unsent
}

// errUntaken says that the other end does not take what was read.
var errUntaken = errors.New("the other end takes no more, and the rest of standard input is not sent")

// send carries standard input to the connection.
func (t *talk) send() error {
	from, to := new(splice.Buffers).Run(&splice.Flow{Src: talkSource{t.in, t, &t.offering}, Dst: talkSink{t.conn, t, &t.offering}})
	switch {
	case from != nil:
		return fmt.Errorf("read standard input: %w", from)
	case errors.Is(to, syscall.EPIPE), errors.Is(to, syscall.ECONNRESET):
		return errUntaken
	case to != nil:
		return fmt.Errorf("send: %w", to)
	}
	splice.CloseWrite(t.conn)
	return nil
}

// receive carries the connection to standard output.
func (t *talk) receive() error {
	from, to := new(splice.Buffers).Run(&splice.Flow{Src: talkSource{t.conn, t, nil}, Dst: talkSink{t.out, t, nil}})
	switch {
	case from != nil:
		return fmt.Errorf("the connection is lost: %w", from)
	case to != nil:
		return fmt.Errorf("write standard output: %w", to)
	}
	return endOutput(t.out)
}

// endOutput says that no more comes. Where standard input is the same socket, its
// descriptor keeps that open, so that closing is not enough.
func endOutput(out io.Writer) error {
	f, ok := out.(*os.File)
	if !ok {
		return nil
	}
	if raw, err := f.SyscallConn(); err == nil {
		// ENOTSOCK, mostly.
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write standard output: %w", err) // a file system may say so late
	}
	return nil
}

// watch returns a channel that is closed when the talk has been idle for too long, and
// what ends the watch.
func (t *talk) watch() (<-chan struct{}, func()) {
	quiet := make(chan struct{})
	if t.idle <= 0 {
		return quiet, func() {}
	}
	stop := make(chan struct{})
	go func() {
		for left := t.idle; left > 0; left = t.idle - (time.Since(t.began) - time.Duration(t.moved.Load())) {
			select {
			case <-time.After(left):
			case <-stop:
				return
			}
		}
		close(quiet)
	}()
	return quiet, func() { close(stop) }
}

// talkSource notes what a reader gives to a talk.
type talkSource struct {
	io.Reader
	talk     *talk
	offering *atomic.Bool // set when there is something to be offered; may be nil
}

// Read implements io.Reader. Of a file it says that something is offered before it takes
// that, so that there is no moment at which neither the file nor the talk has it.
func (s talkSource) Read(p []byte) (int, error) {
	if s.offering != nil && awaitInput(s.Reader) {
		s.offering.Store(true)
	}
	n, err := s.Reader.Read(p)
	if s.offering != nil {
		s.offering.Store(n > 0)
	}
	s.talk.note()
	return n, err
}

// awaitInput waits until a read of a file would not wait, for its end too, and reports
// whether it can tell.
func awaitInput(in io.Reader) bool { return pollInput(in, -1) }

// waiting reports whether a read of a file would not wait: something is there, or its end.
func waiting(in io.Reader) bool { return pollInput(in, 0) }

// pollInput is poll(2) of what may be a file. It says no of anything else.
func pollInput(in io.Reader, milliseconds int) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	ready := false
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, milliseconds)
		for err == unix.EINTR {
			n, err = unix.Poll(p, milliseconds)
		}
		ready = err == nil && n > 0
	})
	return err == nil && ready
}

// talkSink notes what a writer takes of a talk. No Flow of one has a deadline.
type talkSink struct {
	io.Writer
	talk     *talk
	offering *atomic.Bool // cleared when all was taken; may be nil
}

// Write implements io.Writer.
func (s talkSink) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	if s.offering != nil && err == nil {
		s.offering.Store(false)
	}
	s.talk.note()
	return n, err
}

// SetWriteDeadline implements splice.Sink.
func (talkSink) SetWriteDeadline(time.Time) error { return nil }

// note notes that something has moved.
func (t *talk) note() {
	if t.idle > 0 {
		t.moved.Store(int64(time.Since(t.began)))
	}
}
