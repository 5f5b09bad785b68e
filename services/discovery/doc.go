// Package discovery is the service on port 2: who offers what, and how is it.
//
// Every domain answers for its own services (OwnDirectory). The backend
// answers for the whole host (HostDirectory), from what the domains register
// over their own links. Requests are those of package varlink; the interface
// is described by the text Interface, which the server also sends.
//
// Who is asking, and whose services are registered, is told by the link that
// the connection came in on; a message has no field for it. A caller sees what
// it may reach by policy (Visible) and what is its own: the rest is answered
// as if it were not there, in counts, ambiguities and health too.
package discovery

import "xvsock/services"

// Caller is who asks; see services.Caller.
type Caller = services.Caller

// Visible is the policy's answer to whether a caller may reach the service of
// a record, and so may know of it. It is called without locks held, for each
// record of each answer.
type Visible func(Caller, Record) bool
