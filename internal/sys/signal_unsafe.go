package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	lastSignal   = 64 // SIGRTMAX
	ignoreSignal = 1  // SIG_IGN
)

// signalAction is the kernel's struct sigaction, which is not the C library's.
type signalAction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

// IgnoreSignals has the kernel ignore every signal that can be ignored, those too which
// os/signal leaves to the Go runtime because they tell of a fault: sent by somebody,
// they would end the process. One that does come of a fault still ends it. What the
// runtime sends to itself (SIGURG, for preemption) is left to it.
func IgnoreSignals() {
	action := signalAction{handler: ignoreSignal}
	for signal := 1; signal <= lastSignal; signal++ {
		switch unix.Signal(signal) {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGURG:
			continue
		}
		// It cannot fail for any other signal.
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(signal),
			uintptr(unsafe.Pointer(&action)), 0, unsafe.Sizeof(action.mask), 0, 0)
	}
}
