package mux

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// newDuty returns a duty and the number of calls to the pump.
func newDuty() (d *duty, calls *atomic.Int32) {
	d, calls = new(duty), new(atomic.Int32)
	d.init(func() { calls.Add(1) })
	return d, calls
}

func TestADutyIsOneGoroutines(t *testing.T) {
	d, calls := newDuty()
	if !d.take() || d.take() {
		t.Fatal("the duty cannot be taken, or is taken twice")
	}
	d.leave()
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls after somebody found the duty held, want 1", n)
	}
	if !d.take() {
		t.Error("the duty is not free again")
	}
}

func TestWhoLeavesCallsThePumpIfALookIsOwed(t *testing.T) {
	for name, c := range map[string]struct {
		while func(d *duty)
		want  int32
	}{
		"nothing is owed":                        {func(*duty) {}, 0},
		"who leaves relies on another look":      {func(d *duty) { d.owed.Store(true) }, 1},
		"somebody found the duty held":           {func(d *duty) { d.take() }, 1},
		"many did":                               {func(d *duty) { d.take(); d.take(); d.take() }, 1},
		"the pump has been called and is coming": {func(d *duty) { d.take(); d.called.Store(true) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d, calls := newDuty()
			d.take()
			c.while(d)
			d.leave()
			if n := calls.Load(); n != c.want {
				t.Errorf("%d calls, want %d", n, c.want)
			}
		})
	}
}

// A pump that finds the duty held once it has answered has to be called again: the call
// that it answered is used up.
func TestAPumpThatFindsTheDutyHeldIsCalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, calls := newDuty()
		d.take()
		d.owed.Store(true)
		d.leave()
		d.take()
		d.answer()
		if d.take() {
			t.Fatal("the duty is taken twice")
		}
		d.leave()
		if n := calls.Load(); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
	})
}

// What the pump was woken for, a Relay that has room, or a timer, is work without news.
// A waiting Read that takes the duty between two others does not do it, so it must not
// forget it either.
func TestALookThatIsOwedIsNotForgottenByTheNextOnDuty(t *testing.T) {
	d, calls := newDuty()
	d.take()
	if d.take() { // the pump
		t.Fatal("the duty is taken twice")
	}
	d.mu.Unlock() // the first half of leave
	if !d.take() {
		t.Fatal("the duty is not free")
	}
	d.leave()
	if calls.Load() == 0 {
		t.Error("nobody has called the pump")
	}
}

func TestAPumpThatWasCalledLetsOthersComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, shared := range []bool{false, true} {
			d, _ := newDuty()
			d.shared = shared
			began := time.Now()
			d.answer()
			if took := time.Since(began); took != 0 {
				t.Errorf("an answer to no call takes %v", took)
			}
			d.called.Store(true)
			d.answer()
			if took := time.Since(began); d.called.Load() || (took > 0) != shared || took > time.Millisecond {
				t.Errorf("with more than one processor: %v; the answer took %v", shared, took)
			}
		}
	})
}

func TestARetiredDutyIsNobodys(t *testing.T) {
	d, _ := newDuty()
	d.take()
	var left atomic.Bool
	retired := make(chan bool)
	go func() { d.retire(); retired <- left.Load() }()
	for range 1000 {
		runtime.Gosched()
	}
	left.Store(true)
	d.leave()
	if !<-retired {
		t.Error("the pump does not wait for who is on duty")
	}
	if d.take() {
		t.Error("the duty is taken after its end")
	}
}

// Whatever the order, a look follows each take that found the duty held.
func TestNoLookIsLost(t *testing.T) {
	d := new(duty)
	wake := make(chan struct{}, 1)
	d.init(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	d.shared = false
	var asked, looked atomic.Int64 // the last that asked for a look; up to which was looked
	stop := make(chan struct{})
	var pump, readers sync.WaitGroup
	look := func() { looked.Store(asked.Load()) }
	pump.Go(func() {
		for {
			select {
			case <-wake:
			case <-stop:
				return
			}
			d.answer()
			if d.take() {
				look()
				d.leave()
			}
		}
	})
	for range 4 {
		readers.Go(func() {
			for range 5000 {
				mine := asked.Add(1)
				if d.take() {
					look()
					d.leave()
					continue
				}
				for end := time.Now().Add(20 * time.Second); looked.Load() < mine; time.Sleep(time.Microsecond) {
					if time.Now().After(end) {
						t.Errorf("nobody has looked since %d asked", mine)
						return
					}
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	pump.Wait()
}

// A row of messages that does not end keeps the pump for a while only: what it alone
// does, for other links too, has to come.
func TestThePumpsCourtesyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDuty()
		d.shared = true
		d.called.Store(true)
		var over atomic.Bool
		var row sync.WaitGroup
		row.Go(func() {
			for !over.Load() {
				time.Sleep(20 * time.Microsecond)
				d.serves.Add(1)
			}
		})
		began := time.Now()
		busy := d.answer()
		if took := time.Since(began); !busy || took > 50*time.Millisecond || !d.called.Load() {
			t.Errorf("the pump was kept for %v, busy: %v, to answer again: %v", took, busy, d.called.Load())
		}
		over.Store(true)
		row.Wait()
		if d.answer() || d.called.Load() {
			t.Error("nobody comes back, and the pump goes on to wait")
		}
	})
}
