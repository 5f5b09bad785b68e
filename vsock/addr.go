// Package vsock is a domain's virtual sockets: addresses of a CID and a port,
// connections that are net.Conns, listeners, and the Stack that routes between
// them and the links of the domain.
//
// Sockets that are not this process's, those of the domain's kernel, share its ports
// and its links: Locals says who they are, and Stack.Send carries what they send
// (mux.Relay).
//
// The address family is the one of Linux's AF_VSOCK, and so are the errors: an
// *net.OpError around the errno that a socket program expects (design, section
// 5).
package vsock

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"xvsock/xen"
)

// Well-known CIDs (seed, "Virtual Sockets"). They are resolved before anything
// reaches the hypervisor, to which CIDBackend is another domain (DOMID_IO).
const (
	CIDSelf    uint32 = 0x7FF0 // the domain itself
	CIDBackend uint32 = 0x7FF1 // the domain of the backend, where the connection manager is
)

// cidOffset plus a domain id is another spelling of that domain: the one that
// programs see whose kernel keeps CIDs 0, 1 and 2 for itself.
const cidOffset uint32 = 0x10000

// Ports that are never given to anybody.
const (
	PortReserved uint32 = 0          // seed: reserved
	PortManager  uint32 = 1          // the connection manager's; no listener's outside the backend's domain
	PortAny      uint32 = 0xFFFFFFFF // VMADDR_PORT_ANY
)

// Ephemeral ports, the ones that Dial and Listen pick from.
const (
	firstEphemeral uint32 = 0xC0000000
	lastEphemeral  uint32 = 0xFFFFFFFE
)

// network is what Addr.Network and errors name.
const network = "vsock"

// Addr is the address of one end of a connection. It implements net.Addr.
type Addr struct {
	CID  uint32 // domain id, CIDSelf or CIDBackend
	Port uint32
}

// Network returns "vsock".
func (a Addr) Network() string { return network }

// String returns "cid:port" in decimal.
func (a Addr) String() string {
	return strconv.FormatUint(uint64(a.CID), 10) + ":" + strconv.FormatUint(uint64(a.Port), 10)
}

// ErrAddr says that a text is not an address.
var ErrAddr = errors.New("not an address of the form CID:PORT")

// ParseAddr reads "cid:port"; numbers are decimal or 0x hexadecimal.
func ParseAddr(s string) (Addr, error) {
	cid, port, ok := strings.Cut(s, ":")
	c, err1 := strconv.ParseUint(cid, 0, 32)
	p, err2 := strconv.ParseUint(port, 0, 32)
	if !ok || err1 != nil || err2 != nil {
		return Addr{}, fmt.Errorf("%w: %.40q", ErrAddr, s)
	}
	return Addr{CID: uint32(c), Port: uint32(p)}, nil
}

// cidsOfLinux is how many CIDs, from 0 up, Linux keeps for itself.
const cidsOfLinux = 3

// CIDOf is the CID under which programs of another domain reach domain id: the id
// itself, or its other spelling where Linux has the id taken for a CID of its own
// (VMADDR_CID_HYPERVISOR, _LOCAL and _HOST in uapi/linux/vm_sockets.h).
func CIDOf(id xen.DomID) uint32 {
	if id < cidsOfLinux {
		return cidOffset + uint32(id)
	}
	return uint32(id)
}

// DomainOf returns the domain id that cid spells, if it spells one: CIDSelf and
// CIDBackend do not.
func DomainOf(cid uint32) (xen.DomID, bool) {
	if cid >= cidOffset {
		cid -= cidOffset
	}
	if cid >= uint32(xen.DomIDFirstReserved) {
		return 0, false
	}
	return xen.DomID(cid), true
}
