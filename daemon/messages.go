package daemon

import (
	"xvsock/services/discovery"
	"xvsock/services/varlink"
)

// The methods of the control socket.
const (
	ControlInterface = "org.xvsock.Control"
	MethodStatus     = ControlInterface + ".Status"
	MethodServices   = ControlInterface + ".Services"
	MethodResolve    = ControlInterface + ".Resolve"
	MethodPing       = ControlInterface + ".Ping"
	MethodShutdown   = ControlInterface + ".Shutdown"
)

// Errors that the control socket answers with.
var (
	ErrUnknownDomain   = &varlink.Error{Name: ControlInterface + ".UnknownDomain"}
	ErrAmbiguousDomain = &varlink.Error{Name: ControlInterface + ".AmbiguousDomain"}
	ErrFailed          = &varlink.Error{Name: ControlInterface + ".Failed"}
)

// controlInterface describes the control socket in the language of Varlink.
const controlInterface = `# The daemon of a domain, for the domain's own root.
interface org.xvsock.Control

type Link (domain: int, name: string, uuid: string, backend: bool, up: bool, connections: int, pages: int)
type Service (domain: string, uuid: string, name: string, port: int, state: string, cid: ?int, txt: ?[string]string)

# role is frontend or backend; uptime is in seconds.
method Status() -> (role: string, domain: int, name: string, version: string, uptime: float, goroutines: int, watches: int, links: []Link)

# Without a domain: everything that the backend's directory shows this domain.
method Services(domain: ?string) -> (services: []Service)
method Resolve(name: string, domain: ?string) -> (service: Service)

# Moves bytes through the echo service of a domain and compares; seconds is how
# long that took, connect included.
method Ping(domain: string, bytes: int) -> (bytes: int, seconds: float)

# Ends the domain whose PID 1 the daemon is; answered before it does.
method Shutdown(reboot: bool) -> ()

error UnknownDomain (message: string)
error AmbiguousDomain (message: string)
error Failed (message: string)
`

// Status is the answer to MethodStatus.
type Status struct {
	Role    string  `json:"role"`
	Domain  uint16  `json:"domain"`
	Name    string  `json:"name"`
	Version string  `json:"version"`
	Uptime  float64 `json:"uptime"` // seconds
	// Goroutines is how many goroutines the daemon has: steady when idle.
	Goroutines int `json:"goroutines"`
	// Watches is how many xenstore watches the daemon has set.
	Watches int    `json:"watches"`
	Links   []Link `json:"links"`
}

// Link is one link, or one frontend whose link is not up.
type Link struct {
	Domain      uint16 `json:"domain"`
	Name        string `json:"name"`
	UUID        string `json:"uuid"`
	Backend     bool   `json:"backend"`
	Up          bool   `json:"up"`
	Connections int    `json:"connections"`
	Pages       int    `json:"pages"` // granted by this side
}

// ServicesArgs are the parameters of MethodServices.
type ServicesArgs struct {
	Domain string `json:"domain,omitempty"` // name, uuid, id, @backend or self
}

// ServicesReply is the answer to MethodServices.
type ServicesReply struct {
	Services []discovery.Record `json:"services"`
}

// ResolveArgs are the parameters of MethodResolve.
type ResolveArgs struct {
	Name   string `json:"name"`
	Domain string `json:"domain,omitempty"` // as in ServicesArgs
}

// ResolveReply is the answer to MethodResolve.
type ResolveReply struct {
	Service discovery.Record `json:"service"`
}

// PingArgs are the parameters of MethodPing.
type PingArgs struct {
	Domain string `json:"domain"`
	Bytes  int64  `json:"bytes"`
}

// PingReply is the answer to MethodPing.
type PingReply struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// ShutdownArgs are the parameters of MethodShutdown.
type ShutdownArgs struct {
	Reboot bool `json:"reboot"`
}
