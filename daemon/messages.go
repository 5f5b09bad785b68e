package daemon

import (
	"encoding/json"
	"time"

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
	MethodAsk        = ControlInterface + ".Ask"
	MethodMetrics    = ControlInterface + ".Metrics"
)

// Errors that the control socket answers with.
var (
	ErrUnknownDomain   = &varlink.Error{Name: ControlInterface + ".UnknownDomain"}
	ErrAmbiguousDomain = &varlink.Error{Name: ControlInterface + ".AmbiguousDomain"}
	ErrDenied          = &varlink.Error{Name: ControlInterface + ".Denied"} // by policy
	ErrFailed          = &varlink.Error{Name: ControlInterface + ".Failed"}
)

// controlInterface describes the control socket in the language of Varlink.
const controlInterface = `# The daemon of a domain, for the domain's own root.
interface org.xvsock.Control

# kind is backend, frontend or peer; state is up, down, or of a peer: idle, offering,
# accepting, up. out and in are ports that a peer lets this domain reach, and that it
# may reach here. The rest is told by a backend of its frontends.
type Link (domain: int, name: string, uuid: string, backend: bool, up: bool, connections: int, pages: int,
  kind: string, state: string, generation: ?string, out: ?[]string, in: ?[]string,
  tags: ?[]string, twin: ?bool, twin_uuid: ?bool, links: ?[]PeerLink, use: ?Use)
type PeerLink (domain: int, name: string, generation: string)
# requests is how many may come at once now; unconfirmed how many changes of policy
# the frontend has not confirmed yet.
type Use (requests: int, half_open: int, links: int, unconfirmed: int, denied: int, late: int, delayed: int)
type Budgets (requests: int, burst: int, half_open: int, links: int, connections: int, registrations: int)
# error is why the newest set was refused; empty: it was not.
type PolicyState (source: string, version: string, rules: int, since: ?string, error: ?string, unconfirmed: int)
type PolicyRule (file: string, line: int, text: string)
type PolicyDomain (domain: int, name: string, uuid: string, tags: []string, backend: bool)
type Service (domain: string, uuid: string, name: string, port: int, state: string, cid: ?int, txt: ?[string]string)

# How other programs of the domain reach the daemon. on says whether the kernel's
# AF_VSOCK sockets reach other domains, reason why not; instances are the CIDs that they
# can connect to, left_out those for which there is no room.
type AFVsock (on: bool, reason: ?string, instances: []Instance, left_out: ?[]int)
type Instance (cid: int, domain: int, state: string, why: ?string, begun: int)
type Door (path: string, on: bool, reason: ?string, programs: int, refused: int)

# role is frontend or backend; uptime is in seconds. With more, in several parts.
method Status() -> (role: string, domain: int, name: string, version: string, uptime: float, goroutines: int, watches: int, links: []Link,
  policy: ?PolicyState, budgets: ?Budgets, af_vsock: ?AFVsock, door: ?Door)

# Without a domain: everything that the backend's directory shows this domain.
method Services(domain: ?string) -> (services: []Service)
method Resolve(name: string, domain: ?string) -> (service: Service)

# Moves bytes through the echo service of a domain, or another one that sends back
# what it is sent, and compares; seconds is how long that took, connect included.
method Ping(domain: string, bytes: int, port: ?int) -> (bytes: int, seconds: float)

# Measures connections to the bench service of a domain, made by the daemon itself, one
# measurement at a time; case is rr, stream, many or connect. seconds or count ends it,
# whichever is first. With more it ends when the caller goes.
type BenchResult (case: string, size: int, conns: int, bulk: int, lot: int, reverse: bool, count: int, seconds: float, rate: float,
  first_us: float, percentiles_us: ?Percentiles, bytes: int, mb_s: float, fairness: ?Fairness, allocs: float, counts: [string]float, per: string)
type Percentiles (samples: int, min: float, p50: float, p90: float, p99: float, p99_9: float, max: float, mean: float)
type Fairness (min_max: float, jain: float)
method Bench(domain: string, port: ?int, case: string, size: ?int, seconds: ?float, count: ?int, conns: ?int, bulk: ?int, lot: ?int,
  reverse: ?bool) -> (result: BenchResult)

# A backend's rules and the domains that they are about; with more, in several
# parts.
method Policy() -> (source: string, version: string, since: ?string, error: ?string, refused_since: ?string,
  unconfirmed: []int, rules: []PolicyRule, domains: []PolicyDomain)

# Calls a method of discovery, health, control or log (port 2, 3, 4 or 6) of a domain,
# from a source port that only this domain's root may use. The answer is the one of that
# method, errors too; with more, every reply of its stream.
method Ask(domain: string, port: int, method: string, parameters: ?object) -> (any: object)

# What port 5 of a domain says, as text; with more, in several parts.
method Metrics(domain: string) -> (text: string)

error UnknownDomain (message: string)
error AmbiguousDomain (message: string)
error Denied (message: string)
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
	// Policy and Budgets are a backend's.
	Policy  *PolicyState `json:"policy,omitempty"`
	Budgets *Budgets     `json:"budgets,omitempty"`
	// AFVsock and Door are how other programs of the domain reach the daemon.
	AFVsock *AFVsock `json:"af_vsock,omitempty"`
	Door    *Door    `json:"door,omitempty"` // nil: there is none
}

// AFVsock is what the kernel's AF_VSOCK sockets of a domain reach.
type AFVsock struct {
	On        bool       `json:"on"`
	Reason    string     `json:"reason,omitempty"` // why they reach nothing, and what to do about it
	Instances []Instance `json:"instances"`
	LeftOut   []uint32   `json:"left_out,omitempty"` // CIDs for which there was no room
}

// Instance is a CID that programs of the domain can connect to.
type Instance struct {
	CID    uint32 `json:"cid"`
	Domain uint16 `json:"domain"`
	State  string `json:"state"`         // waiting, opening, open, closing
	Why    string `json:"why,omitempty"` // it is not open
	Begun  uint64 `json:"begun"`         // connections, from either side, since the peer is known
}

// Door is the unix socket for programs of the domain.
type Door struct {
	Path     string `json:"path"`
	On       bool   `json:"on"`
	Reason   string `json:"reason,omitempty"` // why it is not
	Programs int    `json:"programs"`         // connected to it, and listening
	Refused  uint64 `json:"refused"`          // that got nothing
}

// Link is one link, or one frontend or peer whose link is not up.
type Link struct {
	Domain      uint16 `json:"domain"`
	Name        string `json:"name"`
	UUID        string `json:"uuid"`
	Backend     bool   `json:"backend"`
	Up          bool   `json:"up"`
	Connections int    `json:"connections"`
	Pages       int    `json:"pages"`            // granted by this side
	Access      string `json:"access,omitempty"` // how this side reads, if the link is up: copy or map

	Kind       string `json:"kind"`  // backend, frontend or peer
	State      string `json:"state"` // up, down, or of a peer: idle, offering, accepting, up
	Generation string `json:"generation,omitempty"`
	// Out are the ports there that policy lets this domain reach, In those here
	// that it lets the peer reach.
	Out []string `json:"out,omitempty"`
	In  []string `json:"in,omitempty"`

	// The rest is told by a backend of its frontends.
	Tags []string `json:"tags,omitempty"`
	Twin bool     `json:"twin,omitempty"` // another domain has its name: rules do not know it by that
	// TwinUUID says the same of its uuid.
	TwinUUID bool       `json:"twin_uuid,omitempty"`
	Links    []PeerLink `json:"links,omitempty"` // its direct links to other frontends
	Use      *Use       `json:"use,omitempty"`
}

// PeerLink is a direct link between two frontends.
type PeerLink struct {
	Domain     uint16 `json:"domain"`
	Name       string `json:"name"`
	Generation string `json:"generation"`
}

// Use is what a frontend uses of its budgets, and what it was refused.
type Use struct {
	Requests    int    `json:"requests"` // that it could send at once
	HalfOpen    int    `json:"half_open"`
	Links       int    `json:"links"`
	Unconfirmed int    `json:"unconfirmed"` // changes of policy that it has not confirmed
	Denied      uint64 `json:"denied"`
	Late        uint64 `json:"late"`    // answers that nobody waited for any more
	Delayed     uint64 `json:"delayed"` // requests that had to wait for their turn
}

// Budgets are what each frontend may use.
type Budgets struct {
	Requests      int `json:"requests"` // a second
	Burst         int `json:"burst"`
	HalfOpen      int `json:"half_open"`
	Links         int `json:"links"`
	Connections   int `json:"connections"`
	Registrations int `json:"registrations"` // a second
}

// PolicyState is what is in force.
type PolicyState struct {
	Source  string    `json:"source"`
	Version string    `json:"version"` // empty: nothing was taken yet
	Rules   int       `json:"rules"`
	Since   time.Time `json:"since,omitzero"`
	Error   string    `json:"error,omitempty"` // why the newest set was refused
	// Unconfirmed is how many frontends have not confirmed yet that they go by it.
	Unconfirmed int `json:"unconfirmed"`
}

// StatusReply is the answer to control.MethodStatus.
type StatusReply struct {
	Status Status `json:"status"`
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
	Port   uint32 `json:"port,omitempty"` // 0: that of echo
}

// PingReply is the answer to MethodPing.
type PingReply struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// AskArgs are the parameters of MethodAsk.
type AskArgs struct {
	Domain     string          `json:"domain"` // as in ServicesArgs
	Port       uint32          `json:"port"`
	Method     string          `json:"method"`
	Parameters json.RawMessage `json:"parameters,omitempty"` // an object
}

// MetricsArgs are the parameters of MethodMetrics.
type MetricsArgs struct {
	Domain string `json:"domain"` // as in ServicesArgs
}

// MetricsReply is a part of the answer to MethodMetrics.
type MetricsReply struct {
	Text string `json:"text"` // whole lines
}
