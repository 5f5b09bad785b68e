package splice

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// nameTries bounds how often a name is chosen that somebody else has.
const nameTries = 8

// Names are what connections to unix sockets of the domain have for their own address,
// so that who accepts one finds the peer on whose behalf it is made as the remote
// address: the abstract name "xvsock/CID/PORT/SERIAL" ("@xvsock/..." in Go), where no
// other has the serial. The zero value is ready for use.
type Names struct {
	once   sync.Once
	serial atomic.Uint64
}

// Try calls use with a name for the peer's address, and again with another as long as
// its error is EADDRINUSE, eight times at most.
func (n *Names) Try(cid, port uint32, use func(name string) error) error {
	// Others in the domain count too.
	n.once.Do(func() { n.serial.Store(rand.Uint64N(1 << 62)) })
	for try := 1; ; try++ {
		err := use(fmt.Sprintf("@xvsock/%d/%d/%d", cid, port, n.serial.Add(1)))
		if try == nameTries || !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
	}
}
