// Package sim is a Xen host in memory: domains with grant tables, event channels
// and a xenstore, a toolstack that makes and destroys them, and faults.
//
// It stands in for the real platform behind the same interfaces (grant.Device,
// evtchn.Binder, a xenstore connection), and package conformance runs the same
// tests on both, so that it cannot drift from what Xen and Linux do.
//
// It is strict. What the real platform forgives or punishes at random (a
// notification on a closed channel, a port touched after a restore) is recorded
// by Misuse, and what a process leaves behind by Leaks; NewTest turns both into
// test failures.
//
// Under -race the pages of a domain are ordinary memory that the race detector
// watches; sim_unsafe.go says what it is told of a copy. Waiting is done on
// channels only, so everything here works inside a testing/synctest bubble.
package sim

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"xvsock/xen"
)

// ErrDead is what a process gets for every call once it was killed, or its
// domain was shut down or destroyed. The goroutines that play the process are
// the test's to end; what they still call has no effect and is no misuse.
var ErrDead = errors.New("this process is dead")

// Host is one Xen host.
//
// Locks: mu guards every table of the host and of its domains, in all files of
// this package. Calls that change a table hold it for writing. Copies and
// notifications hold it for reading only, so that they do not order the two
// domains in the race detector's eyes; a revocation therefore waits for the
// copies in flight, as Xen's does.
type Host struct {
	mu      sync.RWMutex
	domains map[xen.DomID]*Domain
	// husks are domains that are destroyed but whose pages others still map.
	// Their ids are not free yet.
	husks   map[xen.DomID]*husk
	created []*Domain // every domain there ever was, for Leaks
	lastID  xen.DomID

	hook       atomic.Pointer[func(*Call) error]
	complaints complaints
	quarantine quarantine

	store store
}

// New returns a host with nothing on it but domain 0.
func New() *Host {
	h := &Host{
		domains:    make(map[xen.DomID]*Domain),
		husks:      make(map[xen.DomID]*husk),
		quarantine: quarantine{pattern: bytes.Repeat([]byte{quarantineByte}, xen.PageSize)},
	}
	h.add(DomainConfig{Name: "Domain-0", UUID: "00000000-0000-0000-0000-000000000000"}, 0)
	if err := h.openStore(); err != nil {
		panic("sim: a new xenstore refuses domain 0: " + err.Error())
	}
	return h
}

// Test is the part of *testing.T that NewTest needs.
type Test interface {
	Helper()
	Errorf(format string, args ...any)
	Cleanup(func())
}

// NewTest returns a host for one test. At the test's end, after all cleanups that
// were registered later, the host is closed, and misuse and leaks fail the test.
func NewTest(t Test) *Host {
	t.Helper()
	h := New()
	t.Cleanup(func() {
		for _, err := range h.Leaks() {
			t.Errorf("left behind: %v", err)
		}
		for _, err := range h.Misuse() {
			t.Errorf("misuse: %v", err)
		}
		h.Close()
	})
	return h
}

// Close ends the host's xenstore and with it all connections to it.
func (h *Host) Close() { h.store.Close() }

// Domain returns the domain that now has the given id, or nil.
func (h *Host) Domain(id xen.DomID) *Domain {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.domains[id]
}

// Domains returns all domains there are, in the order of their ids.
func (h *Host) Domains() []*Domain {
	h.mu.RLock()
	defer h.mu.RUnlock()
	ds := make([]*Domain, 0, len(h.domains))
	for _, id := range slices.Sorted(maps.Keys(h.domains)) {
		ds = append(ds, h.domains[id])
	}
	return ds
}

// claimID returns want if it is free, or for 0 the next free id after the last
// one given out: Xen's own rover goes round before it uses an id again.
func (h *Host) claimID(want xen.DomID) (xen.DomID, error) {
	if want != 0 {
		if !want.Valid() || h.taken(want) {
			return 0, fmt.Errorf("domain id %d is in use or reserved", want)
		}
		return want, nil
	}
	for range int(xen.DomIDFirstReserved) {
		h.lastID++
		if !h.lastID.Valid() {
			h.lastID = 1
		}
		if !h.taken(h.lastID) {
			return h.lastID, nil
		}
	}
	return 0, errors.New("no free domain id")
}

func (h *Host) taken(id xen.DomID) bool {
	return h.domains[id] != nil || h.husks[id] != nil
}
