package conformance

import (
	"errors"
	"fmt"
	"time"

	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/xen"
)

// End is one end of a Pair: something that carries out requests with the devices
// of one process in one domain.
type End interface {
	// ID is the domain's id.
	ID() xen.DomID
	// Do carries out one request. A failure of the way to the end is reported as
	// a Reply with an Error too.
	Do(Request) Reply
}

// Op names a request.
type Op string

// The requests. Pages and mappings are named by the handle that share and map
// returned, channels by their local port.
const (
	Share         Op = "share"           // Domain, N, Access -> Handle, Refs
	OnRevoke      Op = "on-revoke"       // Handle, Offset, Port
	ClearOnRevoke Op = "clear-on-revoke" // Handle, Offset
	Revoke        Op = "revoke"          // Handle
	Store         Op = "store"           // Handle, Offset, Data: writes own granted pages; into a mapping it fails
	Load          Op = "load"            // Handle, Offset, N -> Data: reads own granted pages or a mapping
	Copy          Op = "copy"            // Segments -> Segments
	Map           Op = "map"             // Domain, Refs -> Handle
	Unmap         Op = "unmap"           // Handle
	Unbound       Op = "unbound"         // Domain -> Port
	Interdomain   Op = "interdomain"     // Domain, Port -> Port
	Notify        Op = "notify"          // Port
	Wait          Op = "wait"            // Port, Patience -> N: 1 if an event came
	Unmask        Op = "unmask"          // Port
	Close         Op = "close"           // Port
	Exhaust       Op = "exhaust"         // Domain, N -> N: allocates up to N ports, closes them again
	Exit          Op = "exit"            // the process ends without giving anything back
)

// Request is one call on an end's devices.
type Request struct {
	Op       Op
	Domain   xen.DomID     `json:",omitzero"`
	N        int           `json:",omitzero"`
	Access   grant.Access  `json:",omitzero"`
	Handle   int           `json:",omitzero"`
	Offset   int           `json:",omitzero"`
	Port     xen.Port      `json:",omitzero"`
	Data     []byte        `json:",omitempty"`
	Refs     []grant.Ref   `json:",omitempty"`
	Patience time.Duration `json:",omitzero"`
	// Segments of a copy. What was read is in Local of the reply's.
	Segments []grant.Segment `json:",omitempty"`
}

// Reply is what a Request came to.
type Reply struct {
	Handle   int             `json:",omitzero"`
	N        int             `json:",omitzero"`
	Port     xen.Port        `json:",omitzero"`
	Data     []byte          `json:",omitempty"`
	Refs     []grant.Ref     `json:",omitempty"`
	Segments []grant.Segment `json:",omitempty"`
	Error    *Error          `json:",omitempty"`
}

// Error is an error that survives the way from one process to another.
type Error struct {
	Text   string
	Status grant.Status `json:",omitzero"` // of the grant table, if it came from there
	Grants bool         `json:",omitzero"` // grant.ErrNoGrants
	Ports  bool         `json:",omitzero"` // evtchn.ErrNoPorts
}

func newError(err error) *Error {
	if err == nil {
		return nil
	}
	e := &Error{Text: err.Error(), Grants: errors.Is(err, grant.ErrNoGrants), Ports: errors.Is(err, evtchn.ErrNoPorts)}
	errors.As(err, &e.Status)
	return e
}

func failed(format string, args ...any) Reply {
	return Reply{Error: newError(fmt.Errorf(format, args...))}
}
