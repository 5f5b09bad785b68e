package mux

import "time"

// Stats are counts since the session began, for status and tests.
type Stats struct {
	Open          int       // tuples in the table
	Relayed       int       // those of them whose connections do not end here
	Since         time.Time // when Open last changed from or to 0
	FramesIn      uint64    // frames received
	FramesOut     uint64    // frames sent
	BytesIn       uint64    // payload received
	BytesOut      uint64    // payload sent
	Strays        uint64    // frames received for no tuple
	ResetsDropped uint64    // answers to strays that found no place
	Lies          uint64    // connections lost because the other side lied
}

// traffic counts the frames of one direction.
type traffic struct {
	frames uint64
	bytes  uint64 // of payload
}

// add counts a frame with n bytes of payload.
func (t *traffic) add(n int) {
	t.frames++
	t.bytes += uint64(n)
}

// Stats returns the counts of the moment.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Open:          s.table.len(),
		Relayed:       int(s.relays.Load()),
		Since:         s.since,
		FramesIn:      s.received.frames,
		FramesOut:     s.tx.sent.frames,
		BytesIn:       s.received.bytes,
		BytesOut:      s.tx.sent.bytes,
		Strays:        s.strays.Load(),
		ResetsDropped: s.tx.resets.dropped.Load(),
		Lies:          s.lies.Load(),
	}
}

// ConnInfo describes a tuple.
type ConnInfo struct {
	Local, Remote uint32
	Incoming      bool
	Relayed       bool   // does not end in this process
	State         string // dialing, established, lingering or resetting
}

// Conns lists the tuples of the moment, in no order.
func (s *Session) Conns() []ConnInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	tuples := s.table.all()
	list := make([]ConnInfo, 0, len(tuples))
	for _, e := range tuples {
		list = append(list, e.info())
	}
	return list
}
