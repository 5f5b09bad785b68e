package afvsock

import (
	"slices"
	"sync/atomic"
	"time"

	"xvsock/mux"
	"xvsock/xen"
)

// Status is what a Switch does.
type Status struct {
	On        bool             // programs can use AF_VSOCK sockets
	Why       string           // not; empty while On
	Instances []InstanceStatus // by CID
	LeftOut   []uint32         // CIDs without an instance because of Config.Max
}

// InstanceStatus is one CID. The counts are since the peer is wanted, over all
// instances of the CID.
type InstanceStatus struct {
	CID          uint32
	Domain       xen.DomID
	State        string    // waiting, opening, open, closing
	Why          string    // it is not open; empty: no particular reason
	Since        time.Time // open since; zero if it is not
	FromKernel   Traffic
	ToKernel     Traffic
	Conns        uint64 // connections that were begun, from either side
	Refused      uint64 // REQUESTs of this domain's programs that were refused here
	Dropped      uint64 // packets that no honest side sends
	Stalls       uint64 // instances closed because the kernel took nothing
	Reopened     uint64 // instances closed for a failure, these and others
	WaitsForLink int    // REQUESTs of this domain's programs that wait for a link
}

// Traffic is what went one way.
type Traffic struct {
	Packets uint64
	Bytes   uint64 // of payload
}

// Status returns what the Switch does now.
func (s *Switch) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{On: s.off == nil && s.stack != nil && !s.stopping, LeftOut: slices.Clone(s.leftOut)}
	switch {
	case s.off != nil:
		st.Why = s.off.Error()
	case !st.On:
		st.Why = "not running"
	}
	for _, sl := range s.sorted() {
		is := InstanceStatus{CID: sl.peer.CID, Domain: sl.peer.Domain, State: sl.state.String(), Why: sl.why}
		sl.tally.fill(&is)
		if sl.state == open {
			is.Since = sl.since
			is.WaitsForLink = int(sl.inst.late.count.Load())
		}
		st.Instances = append(st.Instances, is)
	}
	return st
}

// tally counts for InstanceStatus.
type tally struct {
	fromPackets, fromBytes  atomic.Uint64
	toPackets, toBytes      atomic.Uint64
	conns, refused, dropped atomic.Uint64
	stalls, reopened        atomic.Uint64
}

// sent counts a packet of the kernel that a link has taken.
func (t *tally) sent(p mux.Packet, n int) {
	t.fromPackets.Add(1)
	t.fromBytes.Add(uint64(n))
	t.begun(p)
}

// received counts a packet of a link that the kernel has taken.
func (t *tally) received(p mux.Packet, n int) {
	t.toPackets.Add(1)
	t.toBytes.Add(uint64(n))
	t.begun(p)
}

func (t *tally) begun(p mux.Packet) {
	if p.Op == mux.OpRequest {
		t.conns.Add(1)
	}
}

func (t *tally) fill(is *InstanceStatus) {
	is.FromKernel = Traffic{Packets: t.fromPackets.Load(), Bytes: t.fromBytes.Load()}
	is.ToKernel = Traffic{Packets: t.toPackets.Load(), Bytes: t.toBytes.Load()}
	is.Conns, is.Refused, is.Dropped = t.conns.Load(), t.refused.Load(), t.dropped.Load()
	is.Stalls, is.Reopened = t.stalls.Load(), t.reopened.Load()
}
