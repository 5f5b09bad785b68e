package mux

// held is a frame that lies at the head of the ring because its Relay has no room. It
// was checked, and its state's change was made, once: what the other side makes of
// the header meanwhile is not looked at (rule R2). The pump alone writes it, under mu.
type held struct {
	t *relayed // nil: no frame is held
	h header
}

// deliver gives a frame to its Relay, and returns false if it has to stay.
func (s *Session) deliver(t *relayed, h header, a, b []byte) bool {
	p := t.packet(h.op)
	p.Flags, p.BufAlloc, p.FwdCnt = h.flags, min(h.bufAlloc, maxRelayedCredit), h.fwdCnt
	if s.delivered != t.relay {
		s.flushRelay()
		s.delivered = t.relay
	}
	return t.relay.Deliver(s, p, a, b) || !s.hold(t, h)
}

// flushRelay ends a row of Delivers.
func (s *Session) flushRelay() {
	if s.delivered != nil {
		s.delivered.Flush()
		s.delivered = nil
	}
}

// hold keeps a frame for later, unless nobody wants it any more.
func (s *Session) hold(t *relayed, h header) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moot(t, h) {
		return false
	}
	s.held = held{t, h}
	return true
}

// moot says that a frame is of no use any more: its tuple was ended on this side. RST
// is the last frame of a tuple that has gone already, and must not hit the next one.
// The caller holds mu.
func (s *Session) moot(t *relayed, h header) bool {
	switch {
	case t.withdrawn:
		return true
	case h.op == opReset:
		return s.table.get(t.key) != nil
	}
	return t.state >= resetting
}

// receiveHeld tries the held frame again, and returns false if it still has to stay.
func (s *Session) receiveHeld() (bool, error) {
	t, h := s.held.t, s.held.h
	size := frameSize(int(h.size))
	a, b, err := s.t.Peek(size)
	if err != nil {
		return false, err
	}
	if have := len(a) + len(b); have < size {
		return false, &ProtocolError{"frame", uint32(have), "cut off in its payload"}
	}
	a, b = cut(a, b, headerSize, int(h.size))
	var moot bool
	s.withLock(func() { moot = s.moot(t, h) })
	if !moot && !s.deliver(t, h, a, b) {
		return false, nil
	}
	s.withLock(func() { s.held = held{} })
	s.taken(h)
	return true, nil
}

// wakeFor has the pump look again if it waits with a frame of t, which has ended. The
// caller holds mu.
func (s *Session) wakeFor(t *relayed) {
	if s.held.t == t {
		s.t.Wake()
	}
}

// endHeld forgets the held frame at the link's end. A RST still has to be told, as its
// tuple has gone before. The caller holds mu.
func (s *Session) endHeld() {
	t, h := s.held.t, s.held.h
	s.held = held{}
	if t != nil && h.op == opReset && !s.moot(t, h) {
		t.tellReset(Reason(h.flags))
	}
}

// dropHeld has the pump drop the frame that it holds for r, or is about to. The caller
// holds mu.
func (s *Session) dropHeld(r Relay) {
	for _, t := range [...]*relayed{s.held.t, s.leaving} {
		if t != nil && t.relay == r {
			t.withdrawn = true
			s.wakeFor(t)
		}
	}
}
