package sys

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// FD owns one descriptor. Its methods, and the functions that take it, may be
// used by many goroutines at once, with Close too: the descriptor's number is
// not given back to the kernel while a call is using it, so that no call can
// reach a file that got the same number later.
//
//	open ---Close---> closed      close(2) once no call uses it
//	  |                 |
//	  +---Abandon---> kept <------+  (if close(2) was not made yet)
//
// In closed and kept every call returns os.ErrClosed without a system call.
type FD struct {
	number int
	name   string
	record *Record
	entry  *entry

	// state counts the calls in flight and holds the two flags below, so that
	// taking part in a call is one atomic operation.
	state atomic.Uint64
}

const (
	fdClosed uint64 = 1 << 63
	fdKept   uint64 = 1 << 62
)

// OpenDevice opens a device for reading and writing. The descriptor blocks and
// is closed on exec. If there is no such device the error wraps os.ErrNotExist
// and names the kernel module that makes it.
func OpenDevice(path, module string, record *Record) (*FD, error) {
	number, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	})
	switch err {
	case nil:
		return newFD(number, path, record), nil
	case unix.ENOENT, unix.ENXIO, unix.ENODEV:
		return nil, &missingError{path: path, module: module, errno: err}
	}
	return nil, fmt.Errorf("open %s: %w", path, err)
}

// missingError says that there is no such device, whatever way the kernel said
// so, and what to do.
type missingError struct {
	path, module string
	errno        error
}

func (e *missingError) Error() string {
	return fmt.Sprintf("open %s: %v (load the kernel module %s; it needs a Xen domain)", e.path, e.errno, e.module)
}

func (e *missingError) Unwrap() []error { return []error{e.errno, os.ErrNotExist} }

func newFD(number int, name string, record *Record) *FD {
	f := &FD{number: number, name: name, record: record}
	f.entry = record.add(fmt.Sprintf("fd %d %s", number, name))
	return f
}

// Close gives the descriptor back, now or when the last call that uses it
// returns. It does not interrupt a call. A second call, and a call after
// Abandon, does nothing.
func (f *FD) Close() error {
	for {
		s := f.state.Load()
		if s&(fdClosed|fdKept) != 0 {
			return nil
		}
		if !f.state.CompareAndSwap(s, s|fdClosed) {
			continue
		}
		if s == 0 {
			return f.shut()
		}
		return nil
	}
}

// Abandon makes sure that the descriptor is never used and never closed again
// while this process lives. After a resume, closing an old /dev/xen/evtchn is a
// kernel BUG (drivers/xen/evtchn.c: evtchn_release unbinds ports whose irq is
// gone). A call in flight is not interrupted.
func (f *FD) Abandon() {
	f.state.Or(fdKept)
	f.entry.keep()
}

// KeepAcrossExec lets an abandoned descriptor stay open over an exec of this
// process, which would otherwise close it. It is called right before that exec
// and no earlier: until then the descriptor must not reach programs that this
// process starts.
func (f *FD) KeepAcrossExec() error {
	if f.state.Load()&fdKept == 0 {
		return fmt.Errorf("keep %s over exec: it was not abandoned", f.name)
	}
	if _, err := unix.FcntlInt(uintptr(f.number), unix.F_SETFD, 0); err != nil {
		return fmt.Errorf("keep %s over exec: %w", f.name, err)
	}
	return nil
}

// Dup returns one more descriptor of an abandoned file, closed on exec, for a
// process that keeps the file open when this one ends. The error wraps os.ErrClosed
// if f was not abandoned.
func (f *FD) Dup() (*os.File, error) {
	if f.state.Load()&(fdKept|fdClosed) != fdKept {
		return nil, fmt.Errorf("keep %s: it was not abandoned: %w", f.name, os.ErrClosed)
	}
	number, err := unix.FcntlInt(uintptr(f.number), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("keep %s: %w", f.name, err)
	}
	return os.NewFile(uintptr(number), f.name), nil
}

func (f *FD) shut() error {
	f.entry.drop()
	// close(2) is never repeated: on Linux the number is free even after EINTR.
	return unix.Close(f.number)
}

// acquire begins a call. Each success is followed by one release.
func (f *FD) acquire() error {
	for {
		s := f.state.Load()
		if s&(fdClosed|fdKept) != 0 {
			return os.ErrClosed
		}
		if f.state.CompareAndSwap(s, s+1) {
			return nil
		}
	}
}

func (f *FD) release() {
	if f.state.Add(^uint64(0)) == fdClosed {
		// Close has returned already, there is nobody to tell of an error.
		_ = f.shut()
	}
}

// call runs op with the descriptor held.
func (f *FD) call(op func(fd uintptr) (uintptr, syscall.Errno)) (int, error) {
	return retry(func() (int, error) {
		if err := f.acquire(); err != nil {
			return 0, err
		}
		defer f.release()
		n, errno := op(uintptr(f.number))
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	})
}

// retry repeats op for as long as a signal interrupts it. It is the only place
// that knows of EINTR.
func retry(op func() (int, error)) (int, error) {
	for {
		n, err := op()
		if err != syscall.EINTR {
			return n, err
		}
	}
}
