package mux

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// timed is a deadline with its lock, and a count of the calls of its timer.
type timed struct {
	sync.Mutex
	deadline
	woken int
}

func (g *timed) wake() {
	g.Lock()
	defer g.Unlock()
	g.rearm()
	g.woken++
}

func (g *timed) moveTo(t time.Time) {
	g.Lock()
	defer g.Unlock()
	g.set(t, g.wake)
}

// now reports whether the deadline has passed, and how often its timer has fired.
func (g *timed) now() (passed bool, woken int) {
	synctest.Wait()
	g.Lock()
	defer g.Unlock()
	return g.passed(), g.woken
}

func TestADeadlinePassesWhenItsTimeComes(t *testing.T) {
	for _, c := range []struct {
		name   string
		times  []time.Duration // from the start, set one after the other; 0: none
		wait   time.Duration
		passed bool
		woken  int
	}{
		{"before its time", []time.Duration{time.Second}, time.Second - 1, false, 0},
		{"at its time", []time.Duration{time.Second}, time.Second, true, 1},
		{"set to a time that has passed", []time.Duration{-time.Second}, 0, true, 0},
		{"moved to a time that has passed", []time.Duration{time.Second, -1}, time.Minute, true, 0},
		{"moved to later", []time.Duration{time.Second, 2 * time.Second}, 2*time.Second - 1, false, 0},
		{"moved to earlier", []time.Duration{time.Minute, time.Second}, time.Second, true, 1},
		{"taken back", []time.Duration{time.Second, 0}, time.Minute, false, 0},
		{"passed, and then taken back", []time.Duration{-time.Second, 0}, time.Minute, false, 0},
		{"passed, and then moved to later", []time.Duration{-time.Second, time.Second}, time.Second - 1, false, 0},
		{"passed, moved to later, and passed again", []time.Duration{-time.Second, time.Second}, time.Second, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var g timed
				start := time.Now()
				for _, after := range c.times {
					at := start.Add(after)
					if after == 0 {
						at = time.Time{}
					}
					g.moveTo(at)
				}
				time.Sleep(c.wait)
				if passed, woken := g.now(); passed != c.passed || woken != c.woken {
					t.Errorf("passed: %v, after %d calls; want %v, %d", passed, woken, c.passed, c.woken)
				}
			})
		})
	}
}

// A timer that fires early, as it may where the deadline is by the wall clock or was
// moved meanwhile, fires again.
func TestATimerThatFiresEarlyFiresAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var g timed
		g.moveTo(time.Now().Round(0).Add(time.Second))
		g.wake()
		if passed, _ := g.now(); passed {
			t.Error("the deadline has passed before its time")
		}
		time.Sleep(time.Second)
		if passed, woken := g.now(); !passed || woken != 2 {
			t.Errorf("passed: %v, after %d calls", passed, woken)
		}
		g.moveTo(time.Time{})
		g.wake()
		if passed, _ := g.now(); passed {
			t.Error("a deadline that was taken back has passed")
		}
	})
}

// Whoever asks whether a deadline has passed costs no look at the clock: it is the
// timer that says so.
func TestOnlyTheTimerLooksAtTheClock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var d deadline
		d.set(time.Now().Add(time.Second), func() {})
		time.Sleep(time.Minute)
		if synctest.Wait(); d.passed() {
			t.Error("passed, and the timer has not said so")
		}
		if d.rearm(); !d.passed() {
			t.Error("not passed when the timer has said so")
		}
	})
}

func TestSettingADeadlineAllocatesNothing(t *testing.T) {
	var g timed
	g.moveTo(time.Now().Add(time.Hour))
	wake := g.wake
	for name, at := range map[string]time.Time{
		"later": time.Now().Add(2 * time.Hour), "passed": time.Unix(1, 0), "none": {},
	} {
		if n := testing.AllocsPerRun(100, func() { g.set(at, wake) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	g.stop()
}
