package sys

import (
	"syscall"
	"time"
	"unsafe"
)

// There are two ways to enter the kernel, and this file decides which call goes
// which way.
//
// An ordinary system call (syscall.Syscall) tells the scheduler before and
// after, so that other goroutines run while it waits. That costs little, but
// after a wait the goroutine queues for a processor again, and under load this
// is where most of a wake-up's time goes.
//
// A call at once (syscall.RawSyscall) tells nobody. It is right only for calls
// that wait for nothing that another domain decides, because the garbage
// collector cannot stop the goroutine meanwhile. GRANT_COPY, NOTIFY and writing
// ports back are such calls, and they are the ones on the path of every
// message: between two domains, a message that wakes a sleeping reader took 1.2
// ms with them raw and 3 to 5 ms with all calls ordinary, on the same machine.
//
// GRANT_COPY can sleep all the same. When Xen answers GNTST_eagain for a
// segment, the kernel tries it again after 1, 2, ... 255 ms, some 32 s for each
// segment (gnttab_retry_eagain_gop in drivers/xen/grant-table.c), and with the
// next garbage collection the whole process stands still so long. Xen answers so
// only for a page of the peer that is paged out (xenpaging), or shared between
// domains and not to be unshared for want of memory (mem_sharing). A guest can
// bring about neither: the toolstack turns them on, and it is trusted
// (SECURITY.md). An ordinary call would bound the stall to the link, but every
// message on every other host would pay for it as above.
//
// In every function below the pointer is converted in the argument list of the
// system call itself (rule 4 of package unsafe), so that what it points to stays
// alive and in place until the kernel has returned.

// ioctl is for requests that may wait: binding, unbinding, granting, mapping.
func (f *FD) ioctl(request uintptr, arg unsafe.Pointer) (int, error) {
	return f.call(func(fd uintptr) (uintptr, syscall.Errno) {
		n, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(arg))
		return n, errno
	})
}

// ioctlAtOnce is for requests that return at once.
func (f *FD) ioctlAtOnce(request uintptr, arg unsafe.Pointer) (int, error) {
	return f.call(func(fd uintptr) (uintptr, syscall.Errno) {
		n, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, fd, request, uintptr(arg))
		return n, errno
	})
}

// readWaiting reads size bytes to p and waits for them as an ordinary blocking
// system call.
func (f *FD) readWaiting(p unsafe.Pointer, size uintptr) (int, error) {
	return f.call(func(fd uintptr) (uintptr, syscall.Errno) {
		n, _, errno := syscall.Syscall(syscall.SYS_READ, fd, uintptr(p), size)
		return n, errno
	})
}

// pollAtOnce waits for p, or until the timeout, and tells nobody all the same: it is
// for a few milliseconds in which an answer is expected. The signal by which the
// runtime preempts a thread ends the call (ppoll is not restarted), and the retry is
// where the goroutine yields; a signal that came right before the call is lost, so
// the timeout is what bounds it. Between two domains that wait for each other a round
// trip is less than half as long as with an ordinary call.
func (f *FD) pollAtOnce(p *pollFD, timeout *syscall.Timespec) (int, error) {
	return f.call(func(fd uintptr) (uintptr, syscall.Errno) {
		p.fd = int32(fd)
		n, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(p)), 1, uintptr(unsafe.Pointer(timeout)), 0, 0, 0)
		return n, errno
	})
}

// Pause has the calling thread sleep for d, a fraction of a millisecond, and tells
// nobody: another thread of this process is to have the processor, not another
// goroutine.
func Pause(d time.Duration) {
	timeout := syscall.NsecToTimespec(int64(d))
	// Interrupted, it was long enough.
	_, _, _ = syscall.RawSyscall6(syscall.SYS_PPOLL, 0, 0, uintptr(unsafe.Pointer(&timeout)), 0, 0, 0)
}

// readAtOnce is readWaiting where there is something to read.
func (f *FD) readAtOnce(p unsafe.Pointer, size uintptr) (int, error) {
	return f.call(func(fd uintptr) (uintptr, syscall.Errno) {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(p), size)
		return n, errno
	})
}

// writeAtOnce writes size bytes from p to a device that takes them at once.
func (f *FD) writeAtOnce(p unsafe.Pointer, size uintptr) (int, error) {
	return f.call(func(fd uintptr) (uintptr, syscall.Errno) {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(p), size)
		return n, errno
	})
}
