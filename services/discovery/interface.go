package discovery

import (
	"errors"

	"xvsock/services"
	"xvsock/services/journal"
	"xvsock/services/varlink"
)

const (
	iface            = "org.xvsock.Discovery"
	methodResolve    = iface + ".Resolve"
	methodList       = iface + ".List"
	methodWatch      = iface + ".Watch"
	methodRegister   = iface + ".Register"
	methodUnregister = iface + ".Unregister"
	methodHealth     = iface + ".Health"
)

// Interface describes org.xvsock.Discovery in the language of Varlink.
const Interface = `# Services of Xen domains: who offers what, and how is it.
# A caller is told only of what it may reach.
interface org.xvsock.Discovery

# state is SERVING or NOT_SERVING. cid is the domain's address, where it is known.
type Service (
  domain: string,
  uuid: string,
  name: string,
  port: int,
  state: string,
  cid: ?int,
  txt: ?[string]string
)

# kind is put or delete.
type Change (kind: string, service: Service)

# The one service of that name; domain is a name or a uuid.
method Resolve(name: string, domain: ?string) -> (service: Service)

# All services. With more, in several replies of one revision; without, the
# error ExpectedMore says that they do not fit in one.
method List(name: ?string, domain: ?string) -> (revision: int, services: []Service)

# Changes after a revision, for as long as the caller listens; needs more.
# Without a revision all services come first, as puts. synced is set from the
# reply on that completes them.
method Watch(revision: ?int) -> (revision: int, synced: bool, changes: []Change)

# Enters a service of the caller's own domain, or changes it. Only from a source
# port below 1024. state is SERVING unless given.
method Register(name: string, port: int, state: ?string, txt: ?[string]string) -> ()

# Takes a service of the caller's own domain out. Only from a source port below 1024.
method Unregister(name: string) -> ()

# State of a service: SERVING, NOT_SERVING, or SERVICE_UNKNOWN.
method Health(name: string, domain: ?string) -> (state: string)

error ServiceNotFound ()
# The name is carried by several services; one of the domains has to be given.
error Ambiguous (domains: []string)
# The changes after that revision are not known any more: List again.
error Compacted ()
# The caller has as much of this as it may.
error LimitReached ()
`

// The errors of the interface, for errors.Is.
var (
	ErrServiceNotFound = &varlink.Error{Name: iface + ".ServiceNotFound"}
	ErrAmbiguous       = &varlink.Error{Name: iface + ".Ambiguous"}
	ErrCompacted       = &varlink.Error{Name: iface + ".Compacted"}
	ErrLimitReached    = &varlink.Error{Name: iface + ".LimitReached"}
	ErrDenied          = &varlink.Error{Name: varlink.PermissionDenied}
)

// reply makes the error reply for an error of a directory.
func reply(err error) error {
	switch {
	case errors.Is(err, services.ErrName):
		return varlink.Invalid("name")
	case errors.Is(err, services.ErrPort):
		return varlink.Invalid("port")
	case errors.Is(err, services.ErrState):
		return varlink.Invalid("state")
	case errors.Is(err, services.ErrTxt):
		return varlink.Invalid("txt")
	case errors.Is(err, services.ErrNotFound):
		return ErrServiceNotFound
	case errors.Is(err, services.ErrFull):
		return ErrLimitReached
	case errors.Is(err, ErrNotJoined):
		return ErrDenied
	case errors.Is(err, journal.ErrCompacted):
		return ErrCompacted
	}
	return err
}

// Parameters of calls and replies.
type (
	resolved struct {
		Service Record `json:"service"`
	}
	listing struct {
		Revision uint64   `json:"revision"`
		Services []Record `json:"services"`
	}
	watchFrom struct {
		Revision *uint64 `json:"revision,omitempty"`
	}
	// Update is one reply of a Watch.
	Update struct {
		Revision uint64   `json:"revision"` // to resume from; 0 before the first synced one
		Synced   bool     `json:"synced"`   // false while the first state is still being sent
		Changes  []Change `json:"changes"`
	}
	registration struct {
		Name  string            `json:"name"`
		Port  uint32            `json:"port"`
		State services.State    `json:"state,omitempty"`
		Txt   map[string]string `json:"txt,omitempty"`
	}
	named struct {
		Name string `json:"name"`
	}
	health struct {
		State services.State `json:"state"`
	}
)
