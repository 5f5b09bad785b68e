package payload

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOnlyATargetThatIsNotThereIsAbsent(t *testing.T) {
	for err, want := range map[error]bool{
		unix.ECONNREFUSED: true, unix.ENOENT: true, unix.EACCES: true, unix.ENETUNREACH: true, unix.EPROTOTYPE: true,
		&net.DNSError{IsNotFound: true}: true, &net.DNSError{IsTimeout: true}: false,
		unix.ETIMEDOUT: false, unix.EAGAIN: false, unix.EMFILE: false, unix.ECONNRESET: false,
		context.DeadlineExceeded: false, os.ErrDeadlineExceeded: false,
	} {
		if wrapped := fmt.Errorf("forward to tcp:kv:1: %w", cause(&net.OpError{Op: "dial", Err: err})); absent(wrapped) != want {
			t.Errorf("absent(%v) = %v", wrapped, !want)
		}
	}
}
