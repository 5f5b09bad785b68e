package mux

import "time"

// deadline wakes who waits when a time has come. It is guarded by the lock of
// those it wakes. Its one timer is made at first use and kept, so that setting
// a deadline for every message allocates nothing.
//
// Only set and the timer look at the clock: in some domains that is a system call,
// and the others ask for every message.
type deadline struct {
	at    time.Time
	due   bool // it has come
	timer *time.Timer
}

// set moves the deadline to t; the zero time means none. wake is called without
// a lock, once the time has come or a little before, and calls rearm under it. It
// is not called for a time that has passed already.
func (d *deadline) set(t time.Time, wake func()) {
	d.at, d.due = t, false
	if t.IsZero() {
		d.stop()
		return
	}
	left := time.Until(t)
	switch {
	case left <= 0:
		d.due = true
		d.stop()
	case d.timer == nil:
		d.timer = time.AfterFunc(left, wake)
	default:
		d.timer.Reset(left)
	}
}

// passed says whether the time has come.
func (d *deadline) passed() bool { return d.due }

// rearm is for the timer's function: it notes that the time has come, or sets the
// timer again if it fired early. It may if the deadline has no monotonic clock
// reading, and if the deadline was moved while the function was about to run.
func (d *deadline) rearm() {
	if d.at.IsZero() || d.due {
		return
	}
	if left := time.Until(d.at); left > 0 {
		d.timer.Reset(left)
		return
	}
	d.due = true
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}
