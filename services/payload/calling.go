package payload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"xvsock/services"
)

// nameTries bounds how often a name is chosen that somebody else has.
const nameTries = 8

// calling connects to unix sockets of the domain under the name of the peer on whose
// behalf it does: the abstract name "xvsock/CID/PORT/SERIAL", which who accepts finds as
// the remote address ("@xvsock/..." in Go).
type calling struct{ serial atomic.Uint64 }

// begin chooses where to count from: other services of the domain count too.
func (c *calling) begin() { c.serial.Store(rand.Uint64N(1 << 62)) }

// dial connects to the socket at path for caller.
func (c *calling) dial(ctx context.Context, path string, caller services.Caller) (net.Conn, error) {
	for try := 1; ; try++ {
		name := fmt.Sprintf("@xvsock/%d/%d/%d", cidOf(caller), caller.Port, c.serial.Add(1))
		d := net.Dialer{LocalAddr: &net.UnixAddr{Name: name, Net: "unix"}}
		conn, err := dial(ctx, d, "unix", path)
		if err == nil || try == nameTries || !errors.Is(err, unix.EADDRINUSE) {
			return conn, err
		}
	}
}
