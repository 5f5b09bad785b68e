// Package sys is the boundary to the kernel's devices, those of Xen and vhost-vsock:
// every ioctl and every mmap of the project is made here, and nowhere else.
//
// It knows request numbers, the layout of the structures, when to repeat a
// call, and who holds which descriptor. It knows no rule of our own: callers
// check what they pass. Layouts and numbers are those of
// include/uapi/xen/{gntalloc,gntdev,evtchn}.h and linux/vhost.h, the same on x86-64 and arm64;
// only 64-bit machines are supported.
//
// Errors are the plain errno of the call, or os.ErrClosed for a descriptor that
// was closed or abandoned. Callers say what was being done.
package sys
