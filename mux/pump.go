package mux

import (
	"runtime/debug"
	"time"
)

const (
	// askInterval is how often a silent link with open connections is asked
	// for a sign of life.
	askInterval = 10 * time.Second
	// probeInterval is how often Wait must look at a link with open
	// connections.
	probeInterval = time.Second
	// stoppedLimit is more than a pump with open connections can sleep.
	stoppedLimit = askInterval + 5*probeInterval
	// maxBatch bounds the frames received before timers and waiting writers
	// have their turn.
	maxBatch = 64
)

// Run is the pump. It receives until the link ends and returns why: the
// transport's error, a *ProtocolError, ErrSilent, ErrIdle or ErrSessionClosed.
// After that all connections are reset and the transport is not used any more.
// Run is called once.
//
// A panic in the pump is a bug of ours. It ends this link as any other reason
// does, and not the process, which may be PID 1 (rule R16).
func (s *Session) Run() (err error) {
	if s.foreign != nil {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // of this goroutine
	}
	defer func() {
		if bug := recover(); bug != nil {
			err = s.crash(bug)
		}
		s.t.Fail(err) // before somebody else takes the duty
		s.duty.retire()
		s.end(err)
	}()
	return s.pump()
}

// end resets all connections because the link has failed.
func (s *Session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tx.err = err
	s.ended = &ResetError{Cause: err}
	s.endHeld()
	for _, o := range s.table.all() {
		o.linkEnded(s.ended)
	}
}

// pump has the duty whenever something may have happened and nobody else has it,
// and sleeps in between.
func (s *Session) pump() (err error) {
	for wait := time.Duration(0); err == nil; {
		busy, taken := s.duty.answer(), s.duty.take()
		switch {
		case taken && busy:
			err = s.visit()
		case taken:
			wait, err = s.shift()
		}
		if err == nil && !busy { // who has the duty will call
			err = s.t.Sleep(wait)
		}
	}
	return err
}

// visit is a shift in the midst of what others do: it does what they leave to the pump,
// and does not rest.
func (s *Session) visit() error {
	defer s.duty.leave()
	if err := s.t.Look(); err != nil {
		return err
	}
	s.duty.now = time.Now()
	_, _, err := s.work()
	return err
}

// shift is the pump's time on duty: it deals with what has come, and stays while
// that goes on. It returns how long the pump may sleep then.
func (s *Session) shift() (wait time.Duration, err error) {
	defer s.duty.leave()
	s.duty.pay()
	if err := s.t.Look(); err != nil {
		return 0, err
	}
	s.duty.now = time.Now()
	for news := true; news && err == nil; {
		var frames int
		switch frames, wait, err = s.work(); {
		case err != nil:
		case frames == maxBatch:
			err = s.t.Look() // it has more to do than this
		default:
			news, err = s.stay()
		}
	}
	return wait, err
}

// stay looks whether the pump is to stay. Only Relays have nobody else who would
// wait for the other side on the spot; what they wait for in this domain may need the
// processor.
func (s *Session) stay() (news bool, err error) {
	if s.relays.Load() > 0 && s.duty.shared && s.t.Hot() {
		return s.t.Poll()
	}
	return s.t.Rest()
}

// work receives what is there, and sends what may be sent now.
func (s *Session) work() (frames int, wait time.Duration, err error) {
	s.duty.tick(s.duty.wait)
	if frames, err = s.receive(); err != nil {
		return 0, 0, err
	}
	if wait, err = s.turn(s.duty.now, frames > 0); err != nil {
		return 0, 0, err
	}
	s.flush()
	return frames, wait, nil
}

// turn ends what has lingered or waited long enough, judges silence, sends what waits and
// returns how long the pump may sleep.
func (s *Session) turn(now time.Time, heard bool) (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepTime(now, heard)
	s.received = s.came
	s.linger.expire(now)
	s.asked.expire(now)
	if s.table.len() > 0 {
		if now.Sub(s.heard) >= s.cfg.Silence {
			return 0, ErrSilent
		}
		if !now.Before(s.nextAsk) {
			s.nextAsk = now.Add(askInterval)
			s.ask()
		}
	}
	s.tx.retry(s.spareWishes(now))
	s.tx.drain()
	if s.tx.err != nil {
		return 0, s.tx.err
	}
	if s.stuck(now) >= s.cfg.Silence {
		return 0, ErrSilent
	}
	switch {
	case s.table.len() > 0:
	case s.held.t != nil:
		return probeInterval, nil
	default:
		return s.idle(now, heard)
	}
	wait := probeInterval
	if s.table.len() == s.stands && s.tx.idle() {
		wait = min(askInterval, s.nextAsk.Sub(now))
	}
	wait = min(wait, s.heard.Add(s.cfg.Silence).Sub(now))
	for _, q := range [...]*queue{&s.linger, &s.asked} {
		if nd := q.head; nd != nil {
			wait = min(wait, nd.lane.until.Sub(now))
		}
	}
	return max(wait, time.Millisecond), nil
}

// stuck returns for how long a frame has waited and none could be sent: the other side
// takes nothing out of its ring. That is as good as silence, however much it says: the
// kernel's answers to it wait here, behind a Send (rule R7).
func (s *Session) stuck(now time.Time) time.Duration {
	if s.tx.wanted <= 0 || s.tx.committed != s.movedTo || s.table.len() == 0 {
		s.moved, s.movedTo = now, s.tx.committed
	}
	return now.Sub(s.moved)
}

// spareWishes says whether room is not to be asked for again now: as long as a frame
// is held, once a second is enough. Two sides that both hold one, with full rings,
// would wake each other for ever with their wishes.
func (s *Session) spareWishes(now time.Time) bool {
	if s.held.t != nil && now.Sub(s.wished) < probeInterval {
		return true
	}
	s.wished = now
	return false
}

// idle returns how long the pump may sleep while nothing is open: without limit,
// or until the session ends as idle. That is not just after something was heard,
// as REQUEST may be what comes next. The link ends before Session.mu is given up,
// so that no REQUEST of a Dial is sent after the look.
func (s *Session) idle(now time.Time, heard bool) (time.Duration, error) {
	limit := s.cfg.Idle
	if limit == 0 {
		return 0, nil
	}
	if s.theirs {
		limit *= 2
	}
	if left := s.since.Add(limit).Sub(now); left > 0 || heard {
		return max(left, time.Millisecond), nil
	}
	s.t.Fail(ErrIdle)
	return 0, ErrIdle
}

// keepTime moves the clock of silence. A pump that did not have its turn for so
// long was stopped together with its domain: that time is not held against the
// other side.
func (s *Session) keepTime(now time.Time, heard bool) {
	stopped := now.Sub(s.turned)
	s.turned = now
	if stopped > stoppedLimit {
		s.moved = s.moved.Add(stopped)
	}
	switch {
	case heard:
		s.hear(now)
	case s.held.t != nil:
		s.heard = now // there is more, but it is we who do not take it
	case stopped > stoppedLimit && s.heard.Add(stopped).Before(now):
		s.hear(s.heard.Add(stopped))
	case stopped > stoppedLimit:
		s.hear(now)
	}
}

// hear notes a sign of life.
func (s *Session) hear(now time.Time) {
	if s.heard == now {
		return // the same look at the clock as for the last one
	}
	s.heard, s.nextAsk = now, now.Add(askInterval)
}

// ask asks for a sign of life on one connection that can.
func (s *Session) ask() {
	for _, o := range s.table.all() {
		if o.ask() {
			return
		}
	}
}

// receive takes up to maxBatch frames and returns how many.
func (s *Session) receive() (int, error) {
	defer s.flushRelay()
	for n := range maxBatch {
		more, err := s.receiveFrame()
		if err != nil || !more {
			return n, err
		}
	}
	return maxBatch, nil
}

// receiveFrame takes one frame, or returns false if there is none, or none for which
// its Relay has room. The header
// is copied out before it is looked at, and the ring is not asked for it twice.
// Positions move by whole frames, so a frame that is cut off is a lie.
func (s *Session) receiveFrame() (bool, error) {
	if s.held.t != nil {
		return s.receiveHeld()
	}
	a, b, err := s.t.Peek(headerSize)
	have := len(a) + len(b)
	if err != nil || have == 0 {
		return false, err
	}
	if have < headerSize {
		return false, &ProtocolError{"frame", uint32(have), "cut off in its header"}
	}
	var raw [headerSize]byte
	gather(raw[:], a, b, 0)
	h := decodeHeader(&raw)
	if err := h.check(s.maxPayload, s.rxSeq); err != nil {
		return false, err
	}
	size := frameSize(int(h.size))
	if have < size {
		if a, b, err = s.t.Peek(size); err != nil {
			return false, err
		}
		if have = len(a) + len(b); have < size {
			return false, &ProtocolError{"frame", uint32(have), "cut off in its payload"}
		}
	}
	a, b = cut(a, b, headerSize, int(h.size))
	s.served = tuple{local: h.dst, remote: h.src}
	if !s.dispatch(h, a, b) {
		return false, nil
	}
	s.taken(h)
	return true, nil
}

// taken gives a frame that was dealt with back to the other side.
func (s *Session) taken(h header) {
	s.rxSeq++
	s.came.add(int(h.size))
	s.t.Discard(frameSize(int(h.size)))
}
