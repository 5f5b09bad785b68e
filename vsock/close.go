package vsock

import (
	"maps"
	"slices"
	"time"

	"xvsock/mux"
)

// Close gives the other sides so long to take what is in the rings, and looks so
// often whether they have.
const (
	closeGrace = 500 * time.Millisecond
	closeLook  = 5 * time.Millisecond
)

// Close closes all listeners and resets all connections, and the links end. The
// other sides have half a second to take what was written, and the resets that
// say why; no domain can hold Close up for longer.
func (s *Stack) Close() error {
	listeners, sessions := s.shut()
	for _, l := range listeners {
		l.Close()
	}
	for _, ses := range sessions {
		ses.Reset(func(uint32, uint32, bool) bool { return true }, mux.ReasonShuttingDown)
	}
	settle(sessions)
	for _, ses := range sessions {
		ses.Close()
	}
	s.loops.Wait()
	return nil
}

// closed reports that Close was called. Who holds mu can rely on it.
func (s *Stack) closed() bool { return s.closing.Err() != nil }

// shut lets nothing new begin, and returns what there is.
func (s *Stack) shut() ([]*Listener, []*session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
	sessions := slices.Collect(maps.Values(s.sessions))
	if s.loop != nil {
		sessions = append(sessions, s.loop.dialing, s.loop.accepting)
	}
	return slices.Collect(maps.Values(s.listeners)), sessions
}

// settle waits until all sessions are settled, or closeGrace has passed. A pump
// that is woken looks how far the other side is.
func settle(sessions []*session) {
	left := slices.Clone(sessions)
	for end := time.Now().Add(closeGrace); time.Now().Before(end); time.Sleep(closeLook) {
		left = slices.DeleteFunc(left, (*session).settled)
		if len(left) == 0 {
			return
		}
		for _, ses := range left {
			ses.link.Wake()
		}
	}
}
