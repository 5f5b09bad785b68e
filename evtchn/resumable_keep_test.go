package evtchn

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatCannotBeKeptIsSaidAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		b := newBench(t, func(c *ResumableConfig) {
			c.Keep = func(Device) error {
				if tries.Add(1) < 5 {
					return errors.New("no process")
				}
				return nil
			}
		})
		b.Abandon()
		time.Sleep(keepAgain / 2)
		synctest.Wait()
		if log := b.log.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "do not stop this process") {
			t.Errorf("log: %s", log)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := tries.Load(); n != 5 {
			t.Errorf("%d tries", n)
		}
		if n := strings.Count(b.log.String(), "level=ERROR"); n != 1 {
			t.Errorf("it was said %d times", n)
		}
		b.end()
	})
}

func TestCloseTriesALastTimeToKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		b := newBench(t, func(c *ResumableConfig) {
			c.Keep = func(Device) error { tries++; return errors.New("no process") }
		})
		b.Abandon()
		time.Sleep(keepAgain / 2)
		b.end()
		if n := strings.Count(b.log.String(), "level=ERROR"); tries != 2 || n != 2 {
			t.Errorf("%d tries, said %d times", tries, n)
		}
	})
}

// Keep may take seconds. Nothing waits for it but Close, after which the process may
// end.
func TestOnlyCloseWaitsForKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := 0
		b := newBench(t, func(c *ResumableConfig) {
			c.Keep = func(Device) error { time.Sleep(3 * time.Second); kept++; return nil }
		})
		begin := time.Now()
		for range 2 {
			b.Abandon()
			if err := b.Reopen(); err != nil {
				t.Error(err)
			}
			b.bind()
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("Abandon and Reopen took %v", took)
		}
		b.Abandon()
		b.end()
		if took := time.Since(begin); kept != 3 || took != 9*time.Second {
			t.Errorf("Close returned after %v, when %d were kept", took, kept)
		}
	})
}

// The device says that it could not be closed: the end of the process must not do it
// either.
func TestADeviceThatCannotBeClosedIsKept(t *testing.T) {
	kept := 0
	r, err := NewResumable(ResumableConfig{
		Open: func() (Device, error) { return stuckDevice{}, nil },
		Keep: func(Device) error { kept++; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); !errors.Is(err, ErrAbandoned) || kept != 1 {
		t.Errorf("Close: %v, kept %d times", err, kept)
	}
}

// stuckDevice cannot be closed.
type stuckDevice struct{ Device }

func (stuckDevice) Close() error { return ErrAbandoned }

// While the device is closed, which may take a second, an Abandon does not wait.
func TestAbandonDoesNotWaitForTheCloseOfTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := slowDevice{closing: make(chan struct{})}
		r, err := NewResumable(ResumableConfig{Open: func() (Device, error) { return d, nil }})
		if err != nil {
			t.Fatal(err)
		}
		var closed sync.WaitGroup
		closed.Go(func() { r.Close() })
		defer closed.Wait()
		<-d.closing
		begin := time.Now()
		r.Abandon()
		if took := time.Since(begin); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// slowDevice takes a second to close.
type slowDevice struct {
	Device
	closing chan struct{}
}

func (d slowDevice) Close() error { close(d.closing); time.Sleep(time.Second); return nil }

// A resume may be seen at any moment of Close, above all when the unbinder has just
// ended, for which Close waits.
func TestCloseAndAbandonAtOnce(t *testing.T) {
	for i := range 5000 {
		b := newBench(t, func(c *ResumableConfig) {
			c.Settle = func(ctx context.Context) error {
				if _, ofClose := ctx.Deadline(); ofClose {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			}
			c.Keep = func(Device) error { runtime.Gosched(); return nil }
		})
		b.bind().Close() // one late port
		var both sync.WaitGroup
		both.Go(func() { b.Close() })
		both.Go(func() {
			<-b.ctx.Done()
			for range i % 50 {
				runtime.Gosched()
			}
			b.Abandon()
		})
		both.Wait()
		b.end()
	}
}

func TestPortsThatWaitToBeUnboundAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		defer b.end()
		b.fail.Store(true)
		for i := range maxLate {
			b.bind().Close()
			if i == maxLate/2 {
				time.Sleep(10 * time.Second) // half of them are with the unbinder
			}
		}
		if _, err := b.Unbound(3); err == nil || !strings.Contains(err.Error(), "256 event channels wait") {
			t.Errorf("one more is bound: %v", err)
		}
		synctest.Wait()
		if n := strings.Count(b.log.String(), "level=WARN"); n != 1 {
			t.Errorf("that ports stay bound is said %d times", n)
		}
		b.fail.Store(false)
		time.Sleep(10 * time.Second)
		b.bind().Close()
		b.fail.Store(true)
		b.Abandon()
		b.Reopen()
		b.bind()
	})
}

// A resume whose news comes between two unbindings ends them.
func TestALookIsTakenEveryFewPorts(t *testing.T) {
	alone(t)
	synctest.Test(t, func(t *testing.T) {
		var b *bench
		looks := 0
		b = newBench(t, func(c *ResumableConfig) {
			c.Look = func(context.Context) error {
				if looks++; looks == 3 {
					b.Abandon()
				}
				return nil
			}
		})
		defer b.end()
		for range 100 {
			b.bind().Close()
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := b.now().unbinds.Load(); looks < 3 || n != 3*lookEvery {
			t.Errorf("%d ports were unbound, %d looks taken", n, looks)
		}
	})
}
