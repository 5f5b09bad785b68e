package afvsock

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"xvsock/vsock"
	"xvsock/xen"
)

const (
	// An instance that failed is made again at once if it was open for steadyTime,
	// else after a pause: a peer that breaks its link again and again costs us an
	// instance every 5 s (rule R6).
	steadyTime   = 10 * time.Second
	minReopen    = 100 * time.Millisecond
	maxReopen    = 5 * time.Second
	minOpenRetry = time.Second
	maxOpenRetry = time.Minute
	// lookEvery is how often a device is looked for that is not there.
	lookEvery = time.Minute
	// leaveTime is how long an instance outlives its peer if connections stay open.
	leaveTime = 10 * time.Second
	// leaveLook is how often an instance is looked at whose peer has left, and how
	// long it stays after the last connection: the kernel takes the RST meanwhile.
	leaveLook = 100 * time.Millisecond
)

// state is where a slot stands. Switch.mu guards it.
//
//	    SetPeers, below Config.Max
//	                |
//	                v    the pause is over
//	  +-------> waiting -------------------> opening
//	  |             ^                         |   |
//	  |             +------- error -----------+   |
//	  |                                           v
//	closing <---- failed, or the peer left ---- open
//
// A slot goes in waiting, when its peer has left.
type state uint8

const (
	waiting state = iota
	opening
	open
	closing
)

var stateNames = [...]string{"waiting", "opening", "open", "closing"}

// String returns the state in a word.
func (st state) String() string { return stateNames[st] }

// slot is a CID that has, had or will have an instance. Switch.mu guards it.
type slot struct {
	peer  Peer
	state state
	inst  *instance     // open and closing
	since time.Time     // open: since when
	again time.Time     // waiting: until when
	pause time.Duration // the one before again
	why   string        // it is not open, or was not; empty: no reason
	said  string        // what was logged last

	left  time.Time // open: when the peer left; zero: it has not
	quiet time.Time // since when no connection was open after that
	tally *tally
}

// step does what is to be done now, and returns when the next thing is (zero: when
// something happens) and whether all is over.
func (s *Switch) step(now time.Time) (next time.Time, over bool) {
	idle := s.lookAtLeaving()
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := s.wanted()
	for _, sl := range s.sorted() {
		switch sl.state {
		case open:
			s.review(sl, wanted, idle, now)
		case waiting:
			s.wait(sl, wanted, now)
		}
	}
	s.admit(wanted, now)
	return s.next(now), s.stopping && len(s.slots) == 0
}

// lookAtLeaving tells of the instances whose peers have left which are idle: their
// domains have no connection with the kernel's sockets, and the kernel has been given
// everything. It calls the Stack, so it is without mu.
func (s *Switch) lookAtLeaving() (idle map[*instance]bool) {
	all, stack := s.leaving()
	if len(all) == 0 {
		return nil
	}
	busy := make(map[xen.DomID]bool)
	for _, p := range stack.Peers() {
		busy[p.Domain] = p.Relayed > 0
	}
	idle = make(map[*instance]bool)
	for _, i := range all {
		idle[i] = !busy[i.peer.Domain] && i.queue.empty()
	}
	return idle
}

// leaving returns the instances whose peers have left.
func (s *Switch) leaving() (all []*instance, _ Stack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sl := range s.slots {
		if sl.state == open && !sl.left.IsZero() {
			all = append(all, sl.inst)
		}
	}
	return all, s.stack
}

// wanted returns the peers by CID. The caller holds mu.
func (s *Switch) wanted() map[uint32]Peer {
	all := make(map[uint32]Peer)
	if s.stopping {
		return all
	}
	for _, p := range s.peers {
		if _, twice := all[p.CID]; !twice {
			all[p.CID] = p
		}
	}
	return all
}

// sorted returns the slots by CID. The caller holds mu.
func (s *Switch) sorted() []*slot {
	return slices.SortedFunc(maps.Values(s.slots), func(a, b *slot) int { return cmp.Compare(a.peer.CID, b.peer.CID) })
}

// review closes an instance that failed or whose peer has left. The caller holds mu.
func (s *Switch) review(sl *slot, wanted map[uint32]Peer, idle map[*instance]bool, now time.Time) {
	want, ok := wanted[sl.peer.CID]
	err := sl.inst.failure()
	switch {
	case err != nil:
		s.failed(sl, err, now)
	case s.stopping, ok && want != sl.peer:
		sl.pause, sl.again, sl.why = 0, now, ""
		s.shut(sl)
	case ok:
		sl.left, sl.quiet = time.Time{}, time.Time{}
	default:
		s.leave(sl, idle[sl.inst], now)
	}
}

// failed closes an instance, to make it again. The caller holds mu.
func (s *Switch) failed(sl *slot, err error, now time.Time) {
	if now.Sub(sl.since) >= steadyTime {
		sl.pause, sl.said = 0, ""
	} else {
		sl.pause = grow(sl.pause, minReopen, maxReopen)
	}
	sl.again, sl.why = now.Add(sl.pause), err.Error()
	if !errors.Is(err, errLost) && !errors.Is(err, errGone) && !errors.Is(err, errLeaves) { // others tell of those
		s.complain(sl, "instance of the kernel's AF_VSOCK failed, its sockets were reset", err)
	}
	if errors.Is(err, errStalled) {
		sl.tally.stalls.Add(1)
	}
	sl.tally.reopened.Add(1)
	s.shut(sl)
}

// leave closes the instance of a peer that has left once nothing is open. The caller
// holds mu.
func (s *Switch) leave(sl *slot, idle bool, now time.Time) {
	if sl.left.IsZero() {
		sl.left = now
	}
	switch {
	case !idle:
		sl.quiet = time.Time{}
	case sl.quiet.IsZero():
		sl.quiet = now
	}
	if now.Sub(sl.left) >= leaveTime || idle && now.Sub(sl.quiet) >= leaveLook {
		sl.pause, sl.again, sl.why = 0, now, ""
		s.shut(sl)
	}
}

// wait opens an instance when it is time. The caller holds mu.
func (s *Switch) wait(sl *slot, wanted map[uint32]Peer, now time.Time) {
	want, ok := wanted[sl.peer.CID]
	if !ok {
		delete(s.slots, sl.peer.CID)
		return
	}
	sl.peer = want
	if now.Before(s.due(sl)) {
		return
	}
	s.lookAt = now.Add(lookEvery) // while off, one tries for all
	sl.state = opening
	s.work(func() { s.open(sl, want) })
}

// due is when a waiting slot may open. The caller holds mu.
func (s *Switch) due(sl *slot) time.Time {
	if s.off != nil {
		return s.lookAt
	}
	return sl.again
}

// admit makes slots for peers that have none, in their order, as long as there are
// fewer than Max. The caller holds mu.
func (s *Switch) admit(wanted map[uint32]Peer, now time.Time) {
	had := len(s.leftOut) > 0
	s.leftOut = nil
	for _, p := range s.peers {
		switch want, ok := wanted[p.CID]; {
		case !ok || want != p || s.slots[p.CID] != nil || slices.Contains(s.leftOut, p.CID):
		case len(s.slots) >= s.cfg.Max:
			s.leftOut = append(s.leftOut, p.CID)
		default:
			sl := &slot{peer: p, tally: new(tally)}
			s.slots[p.CID] = sl
			s.wait(sl, wanted, now)
		}
	}
	if !had && len(s.leftOut) > 0 {
		s.cfg.Log.Warn("programs reach some domains not through AF_VSOCK: too many peers for this domain's memory",
			"limit", s.cfg.Max, "left_out", len(s.leftOut), "first_cid", s.leftOut[0])
	}
}

// next is when step has something to do. The caller holds mu.
func (s *Switch) next(now time.Time) (next time.Time) {
	for _, sl := range s.slots {
		var t time.Time
		switch {
		case sl.state == waiting:
			t = s.due(sl)
		case sl.state == open && !sl.left.IsZero():
			t = now.Add(leaveLook)
		default:
			continue
		}
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	return next
}

// publish says which instances get what comes from other domains. The caller holds mu.
func (s *Switch) publish() {
	all := make(map[xen.DomID]*instance)
	for _, sl := range s.slots {
		p := sl.peer
		if s.forgot || sl.state != open || p.CID != vsock.CIDSelf && p.CID != vsock.CIDOf(p.Domain) {
			continue
		}
		if all[p.Domain] == nil || p.CID == vsock.CIDSelf {
			all[p.Domain] = sl.inst
		}
	}
	s.incoming.Store(&all)
}

// grow doubles a pause within bounds.
func grow(pause, least, most time.Duration) time.Duration {
	return min(max(2*pause, least), most)
}
