package evtchn

import (
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/xen"
)

// claimed returns a claim of k for which the reader has left.
func claimed(t *testing.T, k *Kernel) Claim {
	t.Helper()
	c := k.Claim()
	if c == nil {
		t.Fatal("no claim")
	}
	synctest.Wait()
	if !c.Ready(0) {
		t.Fatal("the reader has not left")
	}
	return c
}

// naps waits for an event and collects it.
func naps(t *testing.T, c Claim, want bool) {
	t.Helper()
	if event, err := c.Nap(time.Millisecond); event != want || err != nil {
		t.Errorf("Nap: %v, %v, want %v", event, err, want)
	}
	if err := c.Collect(); err != nil {
		t.Errorf("Collect: %v", err)
	}
}

// raised reports whether an event is in the channel already.
func raised(c Channel) bool {
	select {
	case <-c.Event():
		return true
	default:
		return false
	}
}

func TestWhoHoldsTheClaimGetsTheEventsOfAllChannels(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		one, two := must(t)(k.Unbound(1)), must(t)(k.Unbound(2))
		c := claimed(t, k)
		d.event(one.Port(), two.Port())
		if got(one) || got(two) {
			t.Error("the reader has read although it was to stay away")
		}
		naps(t, c, true)
		if !raised(one) || !raised(two) {
			t.Error("an event that was collected is not in its channel")
		}
		naps(t, c, false)
		c.Release()
	})
}

func TestAReleaseBringsTheReaderBack(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		ch := must(t)(k.Unbound(1))
		c := claimed(t, k)
		c.Release()
		c.Release()
		d.event(ch.Port())
		if !got(ch) {
			t.Error("nobody has read the event")
		}
		if c.Ready(0) {
			t.Error("a claim that was released is ready")
		}
	})
}

func TestAnEventThatWasFoundAndNotCollectedIsTheReadersAfterARelease(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		ch := must(t)(k.Unbound(1))
		c := claimed(t, k)
		d.event(ch.Port())
		if event, err := c.Nap(time.Millisecond); !event || err != nil {
			t.Errorf("Nap: %v, %v", event, err)
		}
		c.Release()
		if !got(ch) {
			t.Error("the event is lost")
		}
		if err := c.Collect(); err != nil {
			t.Errorf("Collect after Release: %v", err)
		}
	})
}

// The read of a Collect has no end but an event: it is made only for what Nap has found
// while nobody else read. What Nap finds before is the reader's, and mostly it is the
// event by which the claim itself calls the reader.
func TestWhatNapFoundWhileTheReaderStillReadIsNotCollected(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		ch := must(t)(k.Unbound(1))
		d.set(func() { d.held = true })
		c := k.Claim()
		if c.Ready(0) {
			t.Error("ready before the reader has left")
		}
		d.event(ch.Port())
		if event, err := c.Nap(time.Millisecond); !event || err != nil {
			t.Errorf("Nap: %v, %v", event, err)
		}
		d.set(func() { d.held = false })
		synctest.Wait()
		if !c.Ready(0) {
			t.Error("the reader has not left")
		}
		if !raised(ch) {
			t.Error("the reader did not hand on what it had read")
		}
		queued := 0
		d.set(func() { queued = len(d.queue) })
		if queued > 0 {
			t.Errorf("%d events are queued", queued)
		}
		collected := make(chan error, 1)
		go func() { collected <- c.Collect() }()
		synctest.Wait()
		select {
		case err := <-collected:
			if err != nil {
				t.Errorf("Collect: %v", err)
			}
		default:
			t.Error("Collect waits for an event")
			d.event(ch.Port()) // which lets it go
			<-collected
		}
		c.Release()
	})
}

func TestCollectWithoutANapReadsNothing(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		ch := must(t)(k.Unbound(1))
		c := claimed(t, k)
		if err := c.Collect(); err != nil {
			t.Errorf("Collect: %v", err)
		}
		d.event(ch.Port())
		if err := c.Collect(); err != nil || raised(ch) {
			t.Errorf("Collect before Nap: %v, or it has read", err)
		}
		naps(t, c, true)
		if !raised(ch) {
			t.Error("the event is lost")
		}
		c.Release()
	})
}

func TestThereIsOneClaimAtATime(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		first := claimed(t, k)
		if c := k.Claim(); c != nil {
			t.Error("a second claim")
		}
		first.Release()
		// The reader may not have been back: it is away for the next one all the same.
		second := k.Claim()
		if second == nil {
			t.Fatal("no claim after a release")
		}
		first.Release() // of nothing
		synctest.Wait()
		if !second.Ready(0) || first.Ready(0) {
			t.Error("the claim is not the second one's")
		}
		ch := must(t)(k.Unbound(1))
		d.event(ch.Port())
		if event, err := first.Nap(time.Millisecond); !event || err != nil {
			t.Errorf("Nap: %v, %v", event, err)
		}
		if err := first.Collect(); err != nil || raised(ch) {
			t.Errorf("a claim of before has collected: %v", err)
		}
		naps(t, second, true)
		if !raised(ch) {
			t.Error("the event is lost")
		}
		second.Release()
	})
}

// An event that comes between the look and the Unmask is let through by the Unmask, and
// the Nap after it finds it.
func TestAnEventBetweenCollectAndUnmaskEndsTheNextNap(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		ch := must(t)(k.Unbound(1))
		c := claimed(t, k)
		d.event(ch.Port())
		naps(t, c, true)
		d.event(ch.Port())
		if event, err := c.Nap(time.Millisecond); event || err != nil {
			t.Errorf("Nap before Unmask: %v, %v", event, err)
		}
		if err := ch.Unmask(); err != nil {
			t.Error(err)
		}
		if !raised(ch) {
			t.Error("the first event is lost")
		}
		naps(t, c, true)
		if !raised(ch) {
			t.Error("the second event is lost")
		}
		c.Release()
	})
}

// The port by which the reader is called does not stay masked, or the next claim and
// Close would call nobody.
func TestClaimsFollowOneAnother(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		for range 5 {
			c := claimed(t, k)
			naps(t, c, false)
			c.Release()
			synctest.Wait()
		}
		// And where the event is left to Nap, as the reader was away already.
		for range 5 {
			c := claimed(t, k)
			c.Release()
			if c = k.Claim(); c == nil {
				t.Fatal("no claim")
			}
			synctest.Wait()
			naps(t, c, true)
			c.Release()
			synctest.Wait()
		}
	})
}

func TestTheEndOfTheDeviceEndsAClaim(t *testing.T) {
	for name, end := range map[string]struct {
		by   func(k *Kernel) error
		want error
	}{
		"it is closed":    {func(k *Kernel) error { return k.Close() }, os.ErrClosed},
		"it is abandoned": {func(k *Kernel) error { k.Abandon(); return nil }, ErrAbandoned},
	} {
		t.Run(name, func(t *testing.T) {
			with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
				ch := must(t)(k.Unbound(1))
				c := claimed(t, k)
				d.event(ch.Port())
				if event, err := c.Nap(time.Millisecond); !event || err != nil {
					t.Errorf("Nap: %v, %v", event, err)
				}
				began := time.Now()
				if err := end.by(k); err != nil {
					t.Errorf("the end: %v", err)
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("the end has waited for %v", took)
				}
				synctest.Wait()
				select {
				case <-k.ended:
				default:
					t.Error("the reader waits for a claim that cannot be used")
				}
				if c.Ready(0) {
					t.Error("the claim is ready")
				}
				if err := c.Collect(); !errors.Is(err, end.want) {
					t.Errorf("Collect: %v, want %v", err, end.want)
				}
				if _, err := c.Nap(time.Millisecond); !errors.Is(err, os.ErrClosed) {
					t.Errorf("Nap: %v", err)
				}
				if again := k.Claim(); again != nil {
					t.Error("a claim of a device that has ended")
				}
				if !raised(ch) {
					t.Error("who waits for the channel does not hear of the end")
				}
				c.Release()
			})
		})
	}
}

// An end of the device under a Nap is not waited for, and ends it.
func TestAnAbandonedDeviceIsNotUsedByWhoNaps(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		c := claimed(t, k)
		done := make(chan error, 1)
		go func() {
			_, err := c.Nap(4 * time.Millisecond)
			done <- errors.Join(err, c.Collect())
		}()
		synctest.Wait()
		began := time.Now()
		k.Abandon()
		if took := time.Since(began); took != 0 {
			t.Errorf("Abandon has waited for %v", took)
		}
		if err := <-done; !errors.Is(err, ErrAbandoned) {
			t.Errorf("Nap and Collect: %v", err)
		}
		c.Release()
	})
}

func TestErrorsOfAClaim(t *testing.T) {
	broken := errors.New("broken")
	for call, use := range map[string]func(c Claim) error{
		"poll": func(c Claim) error { _, err := c.Nap(time.Millisecond); return err },
		"read": func(c Claim) error { return c.Collect() },
	} {
		t.Run(call, func(t *testing.T) {
			with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
				ch := must(t)(k.Unbound(1))
				c := claimed(t, k)
				d.event(ch.Port())
				if _, err := c.Nap(time.Millisecond); err != nil {
					t.Error(err)
				}
				d.set(func() { d.fails[call] = broken })
				if err := use(c); !errors.Is(err, broken) {
					t.Errorf("%s fails, and the claim says %v", call, err)
				}
				d.set(func() { delete(d.fails, call) })
				c.Release()
				synctest.Wait()
			})
		})
	}
	t.Run("who cannot call the reader gets no claim", func(t *testing.T) {
		with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
			d.set(func() { d.fails["notify"] = broken })
			if c := k.Claim(); c != nil {
				t.Error("a claim")
			}
			d.set(func() { delete(d.fails, "notify") })
		})
	})
}

func TestANapAndACollectAllocateNothing(t *testing.T) {
	d := newFake()
	k, err := newKernel(d)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := k.Unbound(1)
	if err != nil {
		t.Fatal(err)
	}
	c := k.Claim()
	for !c.Ready(0) {
		time.Sleep(time.Millisecond)
	}
	d.set(func() { d.queue = make([]uint32, 0, 1<<10) })
	if n := testing.AllocsPerRun(100, func() {
		d.event(ch.Port())
		if event, err := c.Nap(time.Millisecond); !event || err != nil {
			t.Errorf("Nap: %v, %v", event, err)
		}
		if err := errors.Join(c.Collect(), ch.Unmask()); err != nil {
			t.Error(err)
		}
		<-ch.Event()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	c.Release()
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	for _, v := range d.violations {
		t.Error(v)
	}
}

// claimless is a Device that has no claims.
type claimless struct{ Device }

func TestAResumableHandsOnTheClaimOfTheDeviceOfNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var devices []*fakeDevice
		r, err := NewResumable(ResumableConfig{Open: func() (Device, error) {
			d := newFake()
			devices = append(devices, d)
			if len(devices) == 3 {
				k, err := newKernel(d)
				return claimless{k}, err
			}
			return newKernel(d)
		}})
		if err != nil {
			t.Fatal(err)
		}
		old := r.Claim()
		synctest.Wait()
		if old == nil || !old.Ready(0) || r.Claim() != nil {
			t.Error("no claim, or two")
		}
		r.Abandon()
		if c := r.Claim(); c != nil {
			t.Error("a claim while there is no device")
		}
		if err := r.Reopen(); err != nil {
			t.Fatal(err)
		}
		c := r.Claim()
		if c == nil {
			t.Fatal("no claim of the new device while the old one's is held")
		}
		old.Release()
		synctest.Wait()
		if !c.Ready(0) || old.Ready(0) {
			t.Error("the claim of before is mixed up with that of now")
		}
		ch, err := r.Unbound(xen.DomID(1))
		if err != nil {
			t.Fatal(err)
		}
		devices[1].event(ch.Port())
		naps(t, c, true)
		if !raised(ch) {
			t.Error("the event is lost")
		}
		c.Release()
		r.Abandon()
		if err := r.Reopen(); err != nil {
			t.Fatal(err)
		}
		if c := r.Claim(); c != nil {
			t.Error("a claim of a device that has none")
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		for _, d := range devices {
			d.set(func() { d.quit = true })
			for _, v := range d.violations {
				t.Error(v)
			}
		}
		synctest.Wait()
	})
}
