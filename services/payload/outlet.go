package payload

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxPipe is more than a pipe holds, unless root of the domain has raised
// /proc/sys/fs/pipe-max-size.
const maxPipe = 1 << 20

// outlet is our end of a pipe that a program writes to. After finish it gives what
// lies in the pipe, and then its end, whoever may still hold the other end.
type outlet struct {
	file *os.File

	mu       sync.Mutex
	finished bool
	rest     int // bytes that may still come, once finished
}

func newOutlet(f *os.File) *outlet { return &outlet{file: f, rest: maxPipe} }

// Read implements io.Reader.
func (o *outlet) Read(p []byte) (int, error) {
	if !o.isFinished() {
		n, err := o.file.Read(p)
		if n > 0 || !o.isFinished() {
			return n, err
		}
	}
	return o.readRest(p)
}

// readRest reads what is there. A deadline that has passed would hide it from an
// ordinary Read.
func (o *outlet) readRest(p []byte) (n int, err error) {
	p = p[:min(len(p), o.rest)]
	raw, err := o.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	if e := raw.Control(func(fd uintptr) { n, err = unix.Read(int(fd), p) }); e != nil {
		return 0, e
	}
	if err != nil || n <= 0 { // EAGAIN: it is empty and held open
		return 0, io.EOF
	}
	o.rest -= n
	return n, nil
}

// finish makes Read wait no more.
func (o *outlet) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.finished = true
	_ = o.file.SetReadDeadline(time.Unix(1, 0)) // it may be closed
}

func (o *outlet) isFinished() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.finished
}

func (o *outlet) Close() error { return o.file.Close() }

// drain takes what lies in a pipe whose writing end f is, for want of a reader, and
// returns how much that was; 0 if it cannot be done.
func drain(f *os.File) (n int) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		r, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		defer unix.Close(r)
		buffer := make([]byte, 4<<10)
		for n < maxPipe {
			some, err := unix.Read(r, buffer)
			if err != nil || some <= 0 { // EAGAIN: it is empty
				return
			}
			n += some
		}
	})
	return n
}
