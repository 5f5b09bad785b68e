package splice

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// nameTries bounds how often a name is chosen that somebody else has.
const nameTries = 8

// TryNames calls use with a name for a connection to a unix socket of the domain, which
// is then its own address, so that who accepts it finds the peer on whose behalf it is made
// as the remote address: the abstract name "xvsock/CID/PORT/SERIAL" ("@xvsock/..." in Go).
// As long as the error is EADDRINUSE another is tried, eight at most.
//
// The serial is random: whoever shares the network namespace sees the names in use and can
// bind others, and must not guess the next ones. For the same reason a name alone proves
// nothing. It counts where nobody else can connect to the socket, or if SO_PEERCRED says
// that the connection is of this process's user.
func TryNames(cid, port uint32, use func(name string) error) error {
	for try := 1; ; try++ {
		var serial [8]byte
		_, _ = rand.Read(serial[:]) // never fails
		err := use(fmt.Sprintf("@xvsock/%d/%d/%d", cid, port, binary.NativeEndian.Uint64(serial[:])))
		if try == nameTries || !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
	}
}
