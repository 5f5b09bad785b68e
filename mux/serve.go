package mux

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// goal says whether what a Read or Write waits for is there, and if so, whether it can use
// more of what has come. It is called without a lock.
type goal func(*Conn) (reached, hungry bool)

// serve has the caller, who waits for something of c in Read or Write, look for
// it itself, for as long as that is likely to pay. It returns true once the goal is
// reached, and false if the caller should sleep until the pump wakes it. It is called
// without a lock. An error or a bug of ours ends the link, not the caller.
//
// A Relay waits for other goroutines, which need the processor if there is but one.
func (s *Session) serve(c *Conn, g goal) (served bool) {
	if !s.t.Hot() || !s.duty.shared && s.relays.Load() > 0 || !s.duty.take() {
		return false
	}
	s.duty.serves.Add(1)
	if s.foreign != nil {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // the user's goroutine goes on as it was
	}
	defer func() {
		if bug := recover(); bug != nil {
			s.t.Fail(s.crash(bug))
		}
		s.duty.leave()
	}()
	served, err := s.serveUntil(c, g)
	if err != nil {
		s.t.Fail(err)
	}
	return served
}

// serveUntil takes frames, one by one, until the goal is reached: what comes after those
// is left in the ring, so that the next Read finds it there and needs no buffer between.
func (s *Session) serveUntil(c *Conn, g goal) (bool, error) {
	for ticks := 0; ; ticks = s.duty.wait {
		n, served, err := s.receiveUntil(c, g)
		if err == nil && n+ticks > 0 {
			err = s.tidy(c, n > 0, n+ticks)
		}
		if err == nil && !served {
			served, _ = g(c) // what waited to be sent may have gone
		}
		switch {
		case err != nil:
			return false, err
		case served:
			s.duty.owe()
			return true, nil
		case n == maxBatch:
			if err := s.t.Look(); err != nil {
				return false, err
			}
			continue
		case s.others:
			s.others = false
			runtime.Gosched()
		}
		news, err := s.t.Poll()
		if err != nil || !news {
			return false, err
		}
	}
}

// receiveUntil is receive that ends as soon as the goal is reached, unless a Read has
// room for more of c that is there already.
func (s *Session) receiveUntil(c *Conn, g goal) (n int, served bool, err error) {
	for more, hungry := true, false; n < maxBatch && (!served || hungry); n++ {
		if more, err = s.receiveFrame(); err != nil || !more {
			break
		}
		if s.served == c.key {
			served, hungry = g(c)
		} else {
			s.others, hungry = true, false
		}
	}
	s.flushRelay()
	return n, served, err
}

// tidy is a turn, unless nothing waits to be sent: then all that a turn is for can
// wait for the clock. It notes whether that woke others than the user of c.
func (s *Session) tidy(c *Conn, heard bool, ticks int) error {
	if !s.duty.tick(ticks) && s.quiet(heard) {
		s.flush()
		return nil
	}
	_, err := s.turn(s.duty.now, heard)
	s.mu.Lock()
	s.others = s.others || s.roused != nil && s.roused != &c.lane
	s.roused = nil
	s.mu.Unlock()
	s.flush()
	return err
}

// rouse notes that who sends on l was woken, and so wants the processor. The caller
// holds mu.
func (s *Session) rouse(l *lane) {
	if s.roused != nil && s.roused != l {
		l = &s.crowd
	}
	s.roused = l
}

// quiet notes a sign of life, and says whether nothing waits to be sent.
func (s *Session) quiet(heard bool) bool {
	s.mu.Lock()
	if heard {
		s.hear(s.duty.now)
		s.received = s.came
	}
	quiet := s.tx.err == nil && s.tx.idle()
	s.mu.Unlock()
	return quiet
}

// crash says what a recovered panic means for the link (rule R16).
func (s *Session) crash(bug any) error {
	if s.foreign != nil {
		if err := s.foreign.Fault(bug); err != nil {
			return err
		}
	}
	s.cfg.Log.Error("link ended by a bug", "bug", bug, "stack", string(debug.Stack()))
	return fmt.Errorf("%w: %v", ErrBug, bug)
}
