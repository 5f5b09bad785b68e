// Package conformance states, as tests, what xvsock relies on of Xen and Linux:
// what grants, copies, mappings and event channels do when all is well, when
// they are refused, and when the other domain goes away.
//
// The same cases run on package sim and on real Xen, so that the simulation
// cannot drift from the platform. A case sees two ends, Near and Far. On sim both
// are in the test's process. On real Xen the far end is another process, in the
// same domain (a domain can be its own peer) or in a guest that this package's
// test binary runs in as an agent; what the environment variables mean is said
// at Role.
package conformance

import (
	"testing"

	"xvsock/xen"
)

// Pair is the two ends that a case is about. They may be of one domain.
type Pair struct {
	Near, Far End
	// Stranger is an id that neither end has and no domain on the host.
	Stranger xen.DomID
	// Real says that the ends are on real Xen. There a mapping is no more than it was
	// granted as; a simulated one is its owner's own memory, which a test can write.
	Real bool
}

// Case is one thing that the platform does.
type Case struct {
	Name string // a sentence
	Test func(*testing.T, Pair)
}

// Cases returns all of them.
func Cases() []Case {
	var all []Case
	all = append(all, copyCases()...)
	all = append(all, mapCases()...)
	all = append(all, revokeCases()...)
	all = append(all, eventCases()...)
	return append(all, bindCases()...)
}

// Run runs every case with a pair of its own, which connect makes and whose end
// it arranges with t.Cleanup.
func Run(t *testing.T, connect func(*testing.T) Pair) {
	t.Helper()
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) { c.Test(t, connect(t)) })
	}
}
