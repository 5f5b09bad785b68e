package health

import (
	"errors"

	"xvsock/services"
	"xvsock/services/varlink"
)

// The methods of the interface.
const (
	iface       = "org.xvsock.Health"
	MethodCheck = iface + ".Check"
	MethodList  = iface + ".List"
	MethodWatch = iface + ".Watch"
)

// Interface describes org.xvsock.Health in the language of Varlink.
const Interface = `# Is a domain well, and each of its services.
# A caller is told only of what it may reach.
interface org.xvsock.Health

# state is SERVING or NOT_SERVING.
type Health (name: string, port: int, state: string)

# State of a service: SERVING, NOT_SERVING, or SERVICE_UNKNOWN. Without a service:
# of the whole domain, which is SERVING if all are that the caller may reach.
method Check(service: ?string) -> (state: string)

# All services, by name.
method List() -> (services: []Health)

# The state as Check tells it, now and after each change, for as long as the caller
# listens; needs more.
method Watch(service: ?string) -> (state: string)

# The caller has as many watches as it may.
error LimitReached ()
`

// ErrLimitReached is the reply to a watch over the bounds, for errors.Is.
var ErrLimitReached = &varlink.Error{Name: iface + ".LimitReached"}

// ErrPeer says that the other side's answer breaks a rule of the interface.
var ErrPeer = errors.New("bad answer of health")

// Health is how a service is. Its JSON shape only ever grows.
type Health struct {
	Name  string         `json:"name"`
	Port  uint32         `json:"port"`
	State services.State `json:"state"`
}

// Parameters of calls and replies.
type (
	question struct {
		Service string `json:"service,omitempty"` // empty: the whole domain
	}
	answer struct {
		State services.State `json:"state"`
	}
	listing struct {
		Services []Health `json:"services"`
	}
)
