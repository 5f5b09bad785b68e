// Package xen holds the few types that every package of the platform speaks
// of: domain ids, event-channel ports, the page size. It has no behaviour of
// its own and imports nothing of ours.
package xen

import (
	"errors"
	"fmt"
	"strconv"
)

// PageSize is the size in bytes of a Xen page, and so of one grant. Xen's ABI
// fixes it at 4 KiB on every architecture (XEN_PAGE_SIZE in
// include/xen/page.h), whatever the kernel's own page size is.
const PageSize = 4096

// DomID identifies a domain on one host for as long as it runs. Ids are used
// again after a domain is gone, so a DomID is an address, never an identity.
type DomID uint16

const (
	// DomIDFirstReserved is the first id that names no domain
	// (DOMID_FIRST_RESERVED in xen/include/public/xen.h).
	DomIDFirstReserved DomID = 0x7FF0
	// DomIDSelf means "the caller" to most hypercalls (DOMID_SELF). It has the
	// same value as DomIDFirstReserved.
	DomIDSelf DomID = 0x7FF0
)

// ErrDomID says that a text is not the id of a domain.
var ErrDomID = errors.New("not a domain id")

// Valid reports whether d can be the id of a domain.
func (d DomID) Valid() bool { return d < DomIDFirstReserved }

// String returns d in decimal, as xenstore paths spell it.
func (d DomID) String() string { return strconv.FormatUint(uint64(d), 10) }

// ParseDomID reads a domain id as xenstore holds it: decimal digits only, no
// sign, no blanks, no leading zero, below DomIDFirstReserved (rule R13). The
// error wraps ErrDomID.
func ParseDomID(s string) (DomID, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || !DomID(n).Valid() || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%w: %.16q", ErrDomID, s)
	}
	return DomID(n), nil
}

// Port is an event-channel port of one domain. Ports are used again after they
// are unbound.
type Port uint32
