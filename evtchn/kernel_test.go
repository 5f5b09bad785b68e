package evtchn

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"xvsock/internal/sys"
	"xvsock/xen"
)

func TestAnEventComesOnceAndTheNextOneAfterUnmask(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		c := must(t)(k.Unbound(3))
		for range 5 {
			d.event(c.Port())
		}
		if !got(c) || got(c) {
			t.Error("a storm before Unmask is not exactly one value")
		}
		if err := c.Unmask(); err != nil {
			t.Fatal(err)
		}
		if !got(c) {
			t.Error("the event that came meanwhile is lost")
		}
		if err := c.Unmask(); err != nil {
			t.Fatal(err)
		}
		if got(c) {
			t.Error("a value without an event")
		}
		d.event(c.Port())
		if !got(c) {
			t.Error("an event after Unmask is lost")
		}
	})
}

func TestUnmaskWithoutAnEventMakesNoSystemCall(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		c := must(t)(k.Unbound(3))
		for range 3 {
			if err := c.Unmask(); err != nil {
				t.Fatal(err)
			}
		}
		if d.unmasks != 0 {
			t.Errorf("%d writes without an event", d.unmasks)
		}
		d.event(c.Port())
		synctest.Wait()
		for range 3 {
			if err := c.Unmask(); err != nil {
				t.Fatal(err)
			}
		}
		if d.unmasks != 1 {
			t.Errorf("%d writes after one event", d.unmasks)
		}
	})
}

func TestUnmaskBeforeTheValueIsTakenLosesNothing(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		c := must(t)(k.Unbound(3))
		d.event(c.Port())
		synctest.Wait()
		if err := c.Unmask(); err != nil {
			t.Fatal(err)
		}
		d.event(c.Port()) // finds the first value still in the channel
		synctest.Wait()
		if !got(c) || got(c) {
			t.Error("two events and one reader are not one value")
		}
		if err := c.Unmask(); err != nil {
			t.Fatal(err)
		}
		d.event(c.Port())
		if !got(c) {
			t.Error("the port stayed masked")
		}
	})
}

func TestEventsGoToTheirOwnChannel(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		a, b := must(t)(k.Unbound(3)), must(t)(k.Unbound(4))
		d.event(b.Port())
		if got(a) || !got(b) {
			t.Error("the event of one port came on another")
		}
		d.event(a.Port(), b.Port())
		if !got(a) || got(b) {
			t.Error("b got an event while masked, or a none")
		}
	})
}

func TestTheEventThatABindLeavesIsNotLostHoweverSoonItIsRead(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		d.set(func() { d.eventFirst = true })
		c := must(t)(k.Interdomain(3, 17))
		if !got(c) {
			t.Error("the reader had the event before the port was in the table, and dropped it")
		}
	})
}

func TestNotifySendsOneEvent(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		c := must(t)(k.Unbound(3))
		for range 3 {
			if err := c.Notify(); err != nil {
				t.Fatal(err)
			}
		}
		if d.sent != 3 {
			t.Errorf("%d events sent", d.sent)
		}
		d.set(func() { d.fails["notify"] = syscall.ENOTCONN })
		if err := c.Notify(); !errors.Is(err, syscall.ENOTCONN) {
			t.Errorf("error is %v", err)
		}
		d.set(func() { clear(d.fails) })
	})
}

func TestAnEventOfAnOldChannelNeverReachesIt(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		old := must(t)(k.Unbound(3))
		synctest.Wait()
		d.set(func() { d.held = true })
		d.event(old.Port()) // queued, not read yet
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		reused := must(t)(k.Unbound(4))
		if reused.Port() != old.Port() {
			t.Fatalf("port %d was not used again, but %d", old.Port(), reused.Port())
		}
		d.set(func() { d.held = false })
		d.event(reused.Port())
		if got(old) {
			t.Error("the old channel got an event after Close")
		}
		if !got(reused) {
			t.Error("the new channel missed its event")
		}
		writes := d.unmasks
		if err := old.Unmask(); !errors.Is(err, os.ErrClosed) || d.unmasks != writes {
			t.Errorf("Unmask of the old channel: %v, and %d writes to the new one's port", err, d.unmasks-writes)
		}
		if err := old.Notify(); !errors.Is(err, os.ErrClosed) || d.sent != 0 {
			t.Errorf("Notify of the old channel: %v, and %d events to the new one's peer", err, d.sent)
		}
		if err := old.Close(); err != nil || d.unbinds != 1 {
			t.Errorf("second Close of the old channel: %v, %d unbinds", err, d.unbinds)
		}
		if err := reused.Unmask(); err != nil {
			t.Error(err)
		}
		d.event(reused.Port())
		if !got(reused) {
			t.Error("a spurious event left the new channel masked")
		}
	})
}

func TestEventsOfUnknownPortsAreIgnored(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		c := must(t)(k.Unbound(3))
		d.set(func() { d.queue = append(d.queue, 0, 7, 0xFFFFFFFF, uint32(c.Port())) })
		if !got(c) {
			t.Error("a known port behind unknown ones is lost")
		}
	})
}

func TestCloseOfAChannelUnbindsItsPortOnce(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		c := must(t)(k.Unbound(3))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if d.unbinds != 1 || len(d.ports) != 2 {
			t.Errorf("%d unbinds, ports %v", d.unbinds, d.ports)
		}
	})
}

func TestBindErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		errno error
		want  error
		text  string
	}{
		{"no ports left", syscall.ENOSPC, ErrNoPorts, "max_event_channels"},
		{"the errno is kept", syscall.ENOSPC, syscall.ENOSPC, ""},
		{"XSM forbids it", syscall.EPERM, syscall.EPERM, "not permitted"},
		{"not for this domain", syscall.EINVAL, syscall.EINVAL, "domain 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
				d.set(func() { d.fails["unbound"], d.fails["interdomain"] = c.errno, c.errno })
				if ch, err := k.Unbound(3); ch != nil || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
					t.Errorf("Unbound: %v, %v", ch, err)
				}
				if ch, err := k.Interdomain(3, 4); ch != nil || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
					t.Errorf("Interdomain: %v, %v", ch, err)
				}
			})
		})
	}
}

func TestReservedDomainIdsNeverReachTheDevice(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		for _, id := range []xen.DomID{xen.DomIDSelf, 0x7FF1, 0xFFFF} {
			if _, err := k.Unbound(id); !errors.Is(err, xen.ErrDomID) {
				t.Errorf("Unbound(%#x): %v", uint16(id), err)
			}
			if _, err := k.Interdomain(id, 1); !errors.Is(err, xen.ErrDomID) {
				t.Errorf("Interdomain(%#x): %v", uint16(id), err)
			}
		}
	})
}

func TestNoPortsForTheChannelToItselfIsAnErrorOfOpenAndClosesTheDevice(t *testing.T) {
	for limit := 1; limit <= 2; limit++ {
		d := newFake()
		d.limit = limit
		k, err := newKernel(d)
		if limit == 2 {
			if err != nil {
				t.Fatal(err)
			}
			if _, err := k.Unbound(1); !errors.Is(err, ErrNoPorts) {
				t.Errorf("a third port: %v", err)
			}
			if err := k.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		if k != nil || !errors.Is(err, ErrNoPorts) || !d.closed {
			t.Errorf("%v, %v, closed=%v", k, err, d.closed)
		}
	}
}

func TestOpenNamesTheModuleOfAMissingDevice(t *testing.T) {
	_, err := Open(Config{Path: filepath.Join(t.TempDir(), "evtchn")})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "xen-evtchn") {
		t.Errorf("error is %v", err)
	}
}

func TestOpenOfWhatIsNoEventChannelDeviceKeepsNothing(t *testing.T) {
	var record sys.Record
	_, err := Open(Config{Path: "/dev/null", Record: &record})
	if !errors.Is(err, syscall.ENOTTY) {
		t.Errorf("error is %v", err)
	}
	if held := record.Held(); len(held) != 0 {
		t.Errorf("held: %v", held)
	}
}

func TestNothingOfAMessageAllocates(t *testing.T) {
	d := newFake()
	k, err := newKernel(d)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	c := must(t)(k.Unbound(3))
	var queue [1]uint32
	if n := testing.AllocsPerRun(100, func() {
		queue[0] = uint32(c.Port())
		if more, err := k.deliver(queue[:]); !more || err != nil {
			t.Fatal("not open", err)
		}
		<-c.Event()
		if c.Notify() != nil || c.Unmask() != nil {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
