package vsock

import (
	"context"
	"maps"
	"slices"

	"xvsock/mux"
	"xvsock/xen"
)

// Kind says what the domain at the other end of a link is to this one.
type Kind uint8

// The kinds of links.
const (
	ToBackend  Kind = iota // our backend: this is the frontend's side of the front link
	ToFrontend             // a frontend of ours
	ToPeer                 // neither: the link was brokered
)

var kindNames = [...]string{"backend", "frontend", "peer"}

// String returns what the other domain is, in a word.
func (k Kind) String() string { return kindNames[k] }

// Request is a connection that asks to be made, or to go on.
type Request struct {
	Peer          xen.DomID // the domain at the other end, by its link (rule R8)
	Serial        uint64    // of the link
	Kind          Kind      // of the link
	Incoming      bool      // the other side connects, or did
	Local, Remote uint32    // ports
}

// Port is the port that is connected to: a service's, not the one from which the
// connection was made.
func (r Request) Port() uint32 {
	if r.Incoming {
		return r.Local
	}
	return r.Remote
}

// Guard decides who may connect to whom, where. It is asked about every
// connection over every link, but not about those of the domain with itself. It
// must not wait, and must not call the Stack while it holds a lock that Admit,
// Review or the Release of its permits take.
type Guard interface {
	// Admit says whether a connection may be made: ReasonNone and what it stands
	// under (nil: nothing), or why not. It is called in the link's pump, or in
	// Dial, without locks of the Stack or its sessions.
	Admit(r Request) (mux.Permit, mux.Reason)
	// Review says the same of a connection that stands under p, for Stack.Review;
	// mux.Session.Review says who releases p. The session is locked meanwhile.
	Review(r Request, p mux.Permit) (mux.Permit, mux.Reason)
}

// Broker makes links to peers.
type Broker interface {
	// Connect has a link to a peer made, for a connection to port there, and
	// returns nil once the Stack serves one. Many may ask for one peer at a time:
	// they wait for the same link. A link whose Err is set counts as none, also
	// while the Stack still serves it.
	//
	// The error wraps the errno that Dial returns: EHOSTUNREACH, EACCES and so
	// on, see Stack.Dial; without any it is taken for EHOSTUNREACH. Connect
	// returns when ctx ends (rule R6).
	Connect(ctx context.Context, peer xen.DomID, port uint32) error
}

// admit asks the Guard about a connection that ses is to make. It is called
// without locks.
func (s *Stack) admit(ses *session, local, remote uint32, incoming bool) (mux.Permit, mux.Reason) {
	return s.cfg.Guard.Admit(ses.request(local, remote, incoming))
}

// Review asks the Guard about every connection with a domain, and returns how
// many it ended. When it returns those are over at this end, and the other end is
// told. A connection that is just being made is asked about again: none is left
// that stands under an answer which the Guard would not give any more when Review
// was called.
func (s *Stack) Review(peer xen.DomID) (ended int) {
	s.mu.Lock()
	ses := s.sessions[peer]
	s.mu.Unlock()
	if ses == nil {
		return 0
	}
	return s.review(ses)
}

// ReviewAll is Review for all domains.
func (s *Stack) ReviewAll() (ended int) {
	s.mu.Lock()
	sessions := slices.Collect(maps.Values(s.sessions))
	s.mu.Unlock()
	for _, ses := range sessions {
		ended += s.review(ses)
	}
	return ended
}

func (s *Stack) review(ses *session) int {
	if s.cfg.Guard == nil {
		return 0
	}
	return ses.Review(func(local, remote uint32, incoming bool, p mux.Permit) (mux.Permit, mux.Reason) {
		return s.cfg.Guard.Review(ses.request(local, remote, incoming), p)
	})
}
