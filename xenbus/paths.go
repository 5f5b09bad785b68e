package xenbus

import "xvsock/xen"

// Kind is the device type in xenstore paths.
const Kind = "xvsock"

// FrontPath is the directory of the frontend's half in domain front. Its owner
// is front; there is one device a domain, number 0.
func FrontPath(front xen.DomID) string {
	return "/local/domain/" + front.String() + "/device/" + Kind + "/0"
}

// BackendsPath is the directory of all backend halves in domain back, one
// directory a frontend below it.
func BackendsPath(back xen.DomID) string {
	return "/local/domain/" + back.String() + "/backend/" + Kind
}

// BackPath is the directory of the backend's half, in domain back, of the device
// of domain front. Its owner is back.
func BackPath(back, front xen.DomID) string {
	return BackendsPath(back) + "/" + front.String() + "/0"
}
