package mux

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// duty is the right to use the receive side of the transport. The pump has it
// when it was woken. While it sleeps, a goroutine that waits in Read or Write
// takes it, looks for itself, and so needs nobody to hand it what has come: a
// handover between goroutines costs more than all else that a message costs.
//
//	        +--take: the pump---+
//	free ---+                   +--> held --leave--> free
//	        +--take: in serve --+
//
// Who comes back from serve with what it waited for leaves a look owed: nobody
// is awake then, and the other side may rely on somebody who is. Mostly it comes
// again at once. The pump is called, and looks if it finds the duty free.
//
// No look is lost: who finds the duty held has said before that one is owed,
// and who leaves it looks at that after.
type duty struct {
	mu      sync.Mutex // the duty
	owed    atomic.Bool
	called  atomic.Bool // the pump has been, and did not answer yet
	call    func()      // wakes the pump
	shared  bool        // there is more than one processor
	retired bool        // nobody takes it any more; under mu

	now   time.Time // as of a short while ago; under mu
	ticks int       // under mu
}

const (
	// courtesy is how long the pump lets others come back to the duty before it
	// takes it up itself. On one processor they come first as it is.
	courtesy = 50 * time.Microsecond
	// clockTicks is how many turns of work share one look at the clock, which in
	// some domains is a system call.
	clockTicks = 64
)

// init is called before use; call wakes the pump.
func (d *duty) init(call func()) {
	d.call = call
	d.shared = runtime.GOMAXPROCS(0) > 1
}

// take takes the duty if it is free and nobody has retired. If it does not, who
// has it calls the pump when it leaves.
func (d *duty) take() bool {
	d.owed.Store(true)
	if !d.mu.TryLock() {
		return false
	}
	if d.retired {
		d.mu.Unlock()
		return false
	}
	d.owed.Store(false)
	return true
}

// leave gives the duty up.
func (d *duty) leave() {
	d.mu.Unlock()
	if d.owed.Load() && !d.called.Swap(true) {
		d.call()
	}
}

// answer is what the pump does when it is awake, before it takes the duty.
func (d *duty) answer() {
	if !d.called.Load() {
		return
	}
	if d.shared {
		time.Sleep(courtesy)
	}
	d.called.Store(false)
}

// retire ends all use of the transport by others than the caller, which is the
// pump at its end.
func (d *duty) retire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retired = true
}

// tick looks at the clock now and then.
func (d *duty) tick() {
	if d.ticks++; d.ticks%clockTicks == 0 {
		d.now = time.Now()
	}
}

// serve has the caller, who waits for something of c in Read or Write, look for
// it itself, for as long as that is likely to pay. It returns true once done says
// so, and false if the caller should sleep until the pump wakes it. It is called
// without a lock. An error or a bug of ours ends the link, not the caller.
func (s *Session) serve(c *Conn, done func(*Conn) bool) (served bool) {
	if !s.t.Hot() || !s.duty.shared && s.relays.Load() > 0 || !s.duty.take() {
		return false
	}
	if s.foreign != nil {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // the user's goroutine goes on as it was
	}
	defer func() {
		if bug := recover(); bug != nil {
			s.t.Fail(s.crash(bug))
		}
		s.duty.leave()
	}()
	served, err := s.serveUntil(c, done)
	if err != nil {
		s.t.Fail(err)
	}
	return served
}

// serveUntil polls and works until done says so or Poll gives up.
func (s *Session) serveUntil(c *Conn, done func(*Conn) bool) (bool, error) {
	for {
		news, err := s.t.Poll()
		if err != nil || !news {
			return false, err
		}
		others := false
		for frames := maxBatch; frames == maxBatch; {
			frames, _, err = s.work()
			others = others || frames > 0
			if err != nil {
				return false, err
			}
			if done(c) {
				s.duty.owed.Store(true)
				return true, nil
			}
			if frames == maxBatch {
				if err := s.t.Look(); err != nil {
					return false, err
				}
			}
		}
		if others {
			runtime.Gosched() // it was for them
		}
	}
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
