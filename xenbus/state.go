// Package xenbus is the handshake between the two halves of a device, the
// frontend and the backend, over xenstore.
//
// Each half owns a directory and writes its State there; the other half reads
// and watches it. Device is one half. What the halves agree on, the nodes beside
// the state, is the caller's: link writes header references and ports, this
// package moves them in one transaction with the state that announces them.
//
// Trust: what stands in the other half's directory was written by the other
// domain. A missing or unreadable state counts as Closed, values are parsed
// strictly (rule R13), and no path is ever made from them.
package xenbus

import (
	"fmt"
	"strconv"
)

// State is where one half of a device stands (enum xenbus_state in
// xen/include/public/io/xenbus.h), written as decimal text to the node "state".
//
// The frontend's half:
//
//	Initialising --backend InitWait--> Initialised --backend Connected--> Connected
//	      ^                                |                                  |
//	      |      backend leaves, link ends |                                  |
//	      +--------------------------------+----------------------------------+
//	any state --shutdown--> Closing --> Closed
//
// The backend's half:
//
//	InitWait --frontend Initialised--> Connected
//	    ^                                  |
//	    |  link ends, frontend leaves      |
//	    +----------------------------------+
//	any state --toolstack sets online=0, or shutdown--> Closing --> Closed
type State int

// The states of the ABI. Reconfiguring and Reconfigured are not used here.
const (
	Unknown       State = 0
	Initialising  State = 1
	InitWait      State = 2
	Initialised   State = 3
	Connected     State = 4
	Closing       State = 5
	Closed        State = 6
	Reconfiguring State = 7
	Reconfigured  State = 8
)

// ParseState reads the text of a state node: one decimal digit from 0 to 8.
func ParseState(s string) (State, error) {
	if len(s) != 1 || s[0] < '0' || s[0] > '8' {
		return Unknown, fmt.Errorf("not a xenbus state: %.16q", s)
	}
	return State(s[0] - '0'), nil
}

// text is what the node "state" holds for s.
func (s State) text() string { return strconv.Itoa(int(s)) }

// String returns the state's name in the ABI.
func (s State) String() string {
	names := [...]string{"Unknown", "Initialising", "InitWait", "Initialised", "Connected",
		"Closing", "Closed", "Reconfiguring", "Reconfigured"}
	if s < 0 || int(s) >= len(names) {
		return "State(" + strconv.Itoa(int(s)) + ")"
	}
	return names[s]
}
