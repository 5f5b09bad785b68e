package xenstore

import (
	"fmt"
	"strconv"

	"xvsock/xen"
)

// Permission is what one domain may do with a node. The first of a node's list
// is another thing: its Domain owns the node, may do everything, and its Read
// and Write are what domains may do that are not in the list. A domain's own
// entry counts also where the default would allow more. Domain 0 may do
// everything everywhere.
type Permission struct {
	Domain      xen.DomID
	Read, Write bool
}

// String is p as the wire spells it: n, r, w or b, and the domain.
func (p Permission) String() string {
	letter := "n"
	switch {
	case p.Read && p.Write:
		letter = "b"
	case p.Read:
		letter = "r"
	case p.Write:
		letter = "w"
	}
	return letter + p.Domain.String()
}

// ParsePermission is the reverse of String. The error wraps ErrProtocol.
func ParsePermission(s string) (Permission, error) {
	if s == "" {
		return Permission{}, fmt.Errorf("%w: empty permission", ErrProtocol)
	}
	// The id is not held to xen.DomID.Valid: newer xenstored lets special ids
	// such as DOMID_ANY stand here.
	id, err := strconv.ParseUint(s[1:], 10, 16)
	p := Permission{Domain: xen.DomID(id)}
	switch s[0] {
	case 'n':
	case 'r':
		p.Read = true
	case 'w':
		p.Write = true
	case 'b':
		p.Read, p.Write = true, true
	default:
		err = strconv.ErrSyntax
	}
	if err != nil || p.String() != s {
		return Permission{}, fmt.Errorf("%w: permission %.16q", ErrProtocol, s)
	}
	return p, nil
}
