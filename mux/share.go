package mux

// share knows how much of a connection's data lies in the ring, well enough to
// keep it below maxTurn while another connection has data, waiting or in the
// ring. It counts in two lots, each with the position in the ring's stream where
// it ends; a lot counts until the other side has taken all of it.
type share struct {
	older, newer       int
	olderEnd, newerEnd uint64
}

// add counts a frame of tuple k that was just put into the ring.
func (s *share) add(x *sender, k tuple, size int) {
	if s.newer+size > maxTurn/2 && s.older == 0 {
		s.older, s.olderEnd, s.newer = s.newer, s.newerEnd, 0
	}
	s.newer += size
	s.newerEnd = x.committed
	if x.last != k {
		x.last, x.otherEnd = k, x.lastEnd
	}
	x.lastEnd = x.committed
}

// wait returns 0 if a frame of tuple k of that size may go into the ring, else how
// much of the ring must be free first.
func (s *share) wait(x *sender, k tuple, size int) int {
	others := 0
	if x.data.n <= 1 {
		end := x.lastEnd
		if x.last == k {
			end = x.otherEnd
		}
		if others = x.untaken(end); others == 0 {
			return 0 // it is alone
		}
	}
	need := s.full(x, size)
	if need == 0 || x.data.n > 1 {
		return need
	}
	return min(need, others)
}

// full returns 0 if the frame keeps the connection below maxTurn, else how much
// of the ring must be free before it does.
func (s *share) full(x *sender, size int) int {
	if s.older+s.newer+size <= maxTurn {
		return 0
	}
	if s.older != 0 {
		need := x.untaken(s.olderEnd)
		if need == 0 {
			s.older = 0
		}
		if s.older+s.newer+size <= maxTurn {
			return 0
		}
		if need != 0 && s.newer+size <= maxTurn {
			return need
		}
	}
	if need := x.untaken(s.newerEnd); need != 0 {
		return need
	}
	*s = share{}
	return 0
}

// untaken returns 0 if the other side has taken everything before pos out of
// the ring, else how much of the ring is free once it has. Free answers that without a
// look at the other side's words.
func (x *sender) untaken(pos uint64) int {
	after := x.committed - pos
	if after >= uint64(x.capacity) {
		return 0
	}
	free := x.capacity - int(after)
	if x.t.Free() >= free {
		return 0
	}
	return free
}
