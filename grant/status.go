package grant

import (
	"errors"
	"fmt"
)

// ErrNoGrants says that no more pages can be granted: gntalloc's limit (the
// module's parameter "limit") or the domain's grant table is used up.
var ErrNoGrants = errors.New("no more grants: gntalloc limit or grant table used up")

// Status is the result of one operation of the grant table (GNTST_* in
// xen/include/public/grant_table.h). It is an error unless it is StatusOkay.
type Status int16

// The codes that Xen 4.17 knows.
const (
	// StatusUnset is no code of Xen's: a Segment whose copy was not executed, or
	// of which the kernel said nothing, carries it.
	StatusUnset            Status = 1
	StatusOkay             Status = 0
	StatusGeneralError     Status = -1
	StatusBadDomain        Status = -2
	StatusBadRef           Status = -3
	StatusBadHandle        Status = -4
	StatusBadVirtAddr      Status = -5
	StatusBadDevAddr       Status = -6
	StatusNoDeviceSpace    Status = -7
	StatusPermissionDenied Status = -8
	StatusBadPage          Status = -9
	StatusBadCopyArg       Status = -10
	StatusAddressTooBig    Status = -11
	StatusAgain            Status = -12
	StatusNoSpace          Status = -13
)

// Gone reports whether s is what a copy returns once its owner has revoked the
// page or has died: no lie, only an end (design, section 4: LOST).
func (s Status) Gone() bool {
	return s == StatusGeneralError || s == StatusBadDomain || s == StatusBadPage
}

// Error implements error.
func (s Status) Error() string {
	switch s {
	case StatusUnset:
		return "not copied"
	case StatusOkay:
		return "okay"
	case StatusGeneralError:
		return "grant revoked, or not for this domain (GNTST_general_error)"
	case StatusBadDomain:
		return "no such domain (GNTST_bad_domain)"
	case StatusBadRef:
		return "no such grant reference (GNTST_bad_gntref)"
	case StatusPermissionDenied:
		return "hypervisor forbids it (GNTST_permission_denied)"
	case StatusBadPage:
		return "page is gone (GNTST_bad_page)"
	case StatusBadCopyArg:
		return "copy crosses a page (GNTST_bad_copy_arg)"
	case StatusNoSpace:
		return "grant table full (GNTST_no_space)"
	}
	return fmt.Sprintf("grant table status %d", int16(s))
}
