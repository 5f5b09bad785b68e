package payload

import (
	"math"

	"golang.org/x/sys/unix"
)

// keepDescriptors marks what is open as close-on-exec. Go does so for what it opens,
// but not for what it was started with. Kernels before 5.11 cannot.
func keepDescriptors() {
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
}
