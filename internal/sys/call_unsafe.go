package sys

import (
	"syscall"
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
// that never wait for anything outside this kernel, because the garbage
// collector cannot stop the goroutine meanwhile. GRANT_COPY, NOTIFY and writing
// ports back are such calls, and they are the ones on the path of every
// message: between two domains, a message that wakes a sleeping reader took 1.2
// ms with them raw and 3 to 5 ms with all calls ordinary, on the same machine.
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

// writeAtOnce writes size bytes from p to a device that takes them at once.
func (f *FD) writeAtOnce(p unsafe.Pointer, size uintptr) (int, error) {
	return f.call(func(fd uintptr) (uintptr, syscall.Errno) {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(p), size)
		return n, errno
	})
}
