package vsock

import (
	"maps"
	"slices"
	"time"

	"xvsock/link"
	"xvsock/xen"
)

// Peer describes one link for status.
type Peer struct {
	Domain     xen.DomID
	Kind       Kind   // what that domain is to this one
	Generation uint64 // by which both sides know the link
	Serial     uint64 // by which this process does
	Conns      int    // open connections
	Relayed    int    // those of them that end in the domain's kernel (Locals.Relay)
	// Since is when the first of the open connections was made, or when the last
	// one ended; before any, when the link came up.
	Since time.Time
	Pages int // that we have granted to it
	Ring  int // bytes of the smaller ring
	// Access is how this side reads the other's pages.
	Access link.Access
	// Counts are what this side has done for the link since it was made.
	Counts link.Counts
}

// Peers lists the links to other domains that are up, by domain id.
func (s *Stack) Peers() []Peer {
	s.mu.Lock()
	sessions := maps.Clone(s.sessions)
	s.mu.Unlock()
	all := make([]Peer, 0, len(sessions))
	for _, id := range slices.Sorted(maps.Keys(sessions)) {
		ses := sessions[id]
		if ses.link.Err() != nil {
			continue // ended, and about to be removed
		}
		stats := ses.Stats()
		all = append(all, Peer{
			Domain: id, Kind: ses.kind, Generation: ses.link.Generation(), Serial: ses.link.Serial(),
			Conns: stats.Open, Relayed: stats.Relayed, Since: stats.Since, Pages: ses.link.Pages(), Ring: ses.link.Ring(),
			Access: ses.link.Access(), Counts: ses.link.Counts(),
		})
	}
	return all
}
