package mux

import "time"

// deadline wakes who waits when a time has come. It is guarded by the lock of
// those it wakes. Its one timer is made at first use and kept, so that setting
// a deadline for every message allocates nothing.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

// set moves the deadline to t; the zero time means none. wake is called without
// a lock, once the time has come or a little before.
func (d *deadline) set(t time.Time, wake func()) {
	d.at = t
	if t.IsZero() {
		d.stop()
		return
	}
	left := max(time.Until(t), 0)
	if d.timer == nil {
		d.timer = time.AfterFunc(left, wake)
	} else {
		d.timer.Reset(left)
	}
}

// passed says whether the time has come.
func (d *deadline) passed() bool {
	return !d.at.IsZero() && time.Until(d.at) <= 0
}

// rearm is for the timer's function: it sets the timer again if it fired early,
// as it may when the deadline has no monotonic clock reading.
func (d *deadline) rearm() {
	if left := time.Until(d.at); !d.at.IsZero() && left > 0 {
		d.timer.Reset(left)
	}
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}
