package evtchn

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/xen"
)

// refused fails the test unless every use of c is refused with want, without a
// call to the device.
func refused(t *testing.T, d *fakeDevice, c Channel, want error) {
	t.Helper()
	d.mu.Lock()
	sent, unmasks := d.sent, d.unmasks
	d.mu.Unlock()
	if err := c.Notify(); !errors.Is(err, want) {
		t.Errorf("Notify: %v, want %v", err, want)
	}
	if err := c.Unmask(); !errors.Is(err, want) {
		t.Errorf("Unmask: %v, want %v", err, want)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sent != sent || d.unmasks != unmasks {
		t.Error("the device was used")
	}
}

func TestCloseEndsTheReaderAndAllChannels(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		a, b := must(t)(k.Unbound(3)), must(t)(k.Interdomain(4, 5))
		d.event(a.Port()) // masked when the end comes
		synctest.Wait()
		for range 2 {
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if !d.closed || len(d.ports) != 0 {
			t.Errorf("closed=%v, ports %v", d.closed, d.ports)
		}
		for _, c := range []Channel{a, b} {
			if !got(c) {
				t.Error("who waits for the channel is not woken")
			}
			refused(t, d, c, os.ErrClosed)
			if err := c.Close(); err != nil {
				t.Errorf("Close of a channel that ended: %v", err)
			}
		}
		if d.unbinds != 0 {
			t.Errorf("%d unbinds, although the close unbinds all", d.unbinds)
		}
		if _, err := k.Unbound(3); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Unbound: %v", err)
		}
		k.Abandon() // too late to mean anything
		if d.abandoned {
			t.Error("abandoned after Close")
		}
	})
}

func TestCloseReportsWhatTheDeviceSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFake()
		k, err := newKernel(d)
		if err != nil {
			t.Fatal(err)
		}
		d.set(func() { d.fails["close"] = syscall.EIO })
		if err := k.Close(); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrAbandoned) {
			t.Errorf("error is %v", err)
		}
	})
}

// After a resume that nobody has seen yet the event that is to end the reader goes
// nowhere, or its port is unknown.
func TestCloseAbandonsADeviceWhoseReaderDoesNotEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		resumed func(d *fakeDevice)
		takes   time.Duration
	}{
		"the event goes nowhere": {func(d *fakeDevice) { d.held = true }, stopWait},
		"there is no such port":  {func(d *fakeDevice) { d.fails["notify"] = syscall.ENOTCONN }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newFake()
				k, err := newKernel(d)
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				c := must(t)(k.Unbound(3))
				d.set(func() { tt.resumed(d) })
				begin := time.Now()
				if err := k.Close(); !errors.Is(err, ErrAbandoned) {
					t.Errorf("Close: %v", err)
				}
				if took := time.Since(begin); took != tt.takes || d.closed || !d.abandoned {
					t.Errorf("after %v: closed=%v, abandoned=%v", took, d.closed, d.abandoned)
				}
				refused(t, d, c, os.ErrClosed)
				f, err := k.Dup()
				if err != nil {
					t.Fatalf("it cannot be kept: %v", err)
				}
				f.Close()
				d.set(func() { d.held, d.quit = false, true })
				synctest.Wait()
				for _, v := range d.violations {
					t.Error(v)
				}
			})
		})
	}
}

func TestAnAbandonedDeviceIsNeverTouchedAgain(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		a, b, early := must(t)(k.Unbound(3)), must(t)(k.Interdomain(4, 5)), must(t)(k.Unbound(6))
		if err := early.Close(); err != nil {
			t.Fatal(err)
		}
		if err := k.KeepAcrossExec(); err == nil {
			t.Error("a device in use was let over exec")
		}
		d.event(a.Port())
		synctest.Wait()
		bound := len(d.ports)
		k.Abandon()
		k.Abandon()
		for _, c := range []Channel{a, b} {
			if !got(c) {
				t.Error("who waits for the channel is not woken")
			}
			refused(t, d, c, ErrAbandoned)
			refused(t, d, c, os.ErrClosed)
			if err := c.Close(); !errors.Is(err, ErrAbandoned) {
				t.Errorf("Close of an abandoned channel: %v", err)
			}
		}
		if err := early.Close(); err != nil {
			t.Errorf("second Close of a channel closed in time: %v", err)
		}
		if _, err := k.Interdomain(3, 4); !errors.Is(err, ErrAbandoned) {
			t.Errorf("Interdomain: %v", err)
		}
		if err := k.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if d.closed || d.unbinds != 1 || len(d.ports) != bound || d.sent != 0 {
			t.Errorf("closed=%v, %d unbinds, %d of %d ports, %d events sent", d.closed, d.unbinds, len(d.ports), bound, d.sent)
		}
		if err := k.KeepAcrossExec(); err != nil || !d.kept {
			t.Errorf("KeepAcrossExec: %v", err)
		}
		d.event(b.Port()) // even if the old device still spoke
		if got(b) {
			t.Error("an event of an abandoned device was delivered")
		}
	})
}

func TestAReadThatFailsIsToldToEveryChannel(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		a, b := must(t)(k.Unbound(3)), must(t)(k.Unbound(4))
		d.set(func() { d.fails["read"] = syscall.EFBIG }) // the ring of an old kernel overflowed
		<-k.ended
		for _, c := range []Channel{a, b} {
			if !got(c) {
				t.Error("who waits for the channel is not woken")
			}
			refused(t, d, c, syscall.EFBIG)
		}
		if _, err := k.Unbound(5); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("Unbound: %v", err)
		}
		if err := a.Close(); err != nil || d.unbinds != 1 {
			t.Errorf("Close of a channel: %v, %d unbinds", err, d.unbinds)
		}
		if err := k.Close(); err != nil || !d.closed {
			t.Errorf("Close: %v", err)
		}
		refused(t, d, b, os.ErrClosed)
	})
}

func TestAnEventOfTheReadersOwnPortsDoesNotKeepCloseWaiting(t *testing.T) {
	for name, port := range map[string]func(k *Kernel) xen.Port{
		"stop": func(k *Kernel) xen.Port { return k.stop },
		"wake": func(k *Kernel) xen.Port { return k.wake },
	} {
		t.Run(name, func(t *testing.T) {
			with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
				c := must(t)(k.Unbound(3))
				for range 3 {
					d.event(port(k))
					synctest.Wait()
				}
				if d.unmasks != 3 || !d.ports[port(k)].enabled {
					t.Errorf("%d writes after 3 events, enabled=%v", d.unmasks, d.ports[port(k)].enabled)
				}
				if got(c) {
					t.Error("a channel got the event")
				}
				if err := k.Close(); err != nil || !d.closed {
					t.Errorf("Close: %v", err)
				}
				if d.unmasks != 3 {
					t.Error("the event of the end was written back")
				}
			})
		})
	}
}

func TestAPortOfTheReaderThatCannotBeWrittenBackIsAFailureOfTheDevice(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		c := must(t)(k.Unbound(3))
		d.set(func() { d.fails["unmask"] = syscall.ENOMEM })
		d.event(k.stop)
		<-k.ended
		if !got(c) {
			t.Error("who waits for the channel is not woken")
		}
		refused(t, d, c, syscall.ENOMEM)
	})
}

func TestADeviceThatFailedCanBeAbandoned(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		c := must(t)(k.Unbound(3))
		d.set(func() { d.fails["read"] = syscall.EIO })
		<-k.ended
		k.Abandon()
		refused(t, d, c, ErrAbandoned)
		if !d.abandoned {
			t.Error("the device may still be closed")
		}
	})
}

// Whatever goes on, no port is used after its unbind and nothing after the end.
func TestEverythingAtOnce(t *testing.T) {
	for name, finish := range map[string]func(k *Kernel){
		"and then Close":   func(k *Kernel) { _ = k.Close() },
		"and then Abandon": (*Kernel).Abandon,
	} {
		t.Run(name, func(t *testing.T) {
			with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
				var workers sync.WaitGroup
				for i := range 6 {
					workers.Go(func() {
						for round := 0; ; round++ {
							c, err := k.Unbound(3)
							if err != nil {
								if !errors.Is(err, os.ErrClosed) {
									t.Error(err)
								}
								return
							}
							var wg sync.WaitGroup
							wg.Go(func() { _ = c.Notify() })
							wg.Go(func() { _ = c.Unmask() })
							wg.Go(func() { d.event(c.Port()) })
							wg.Go(func() {
								if err := c.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
									t.Error(err)
								}
							})
							wg.Wait()
							if i == 0 && round == 100 {
								finish(k)
								d.mu.Lock()
								sent, unmasks, unbinds := d.sent, d.unmasks, d.unbinds
								d.mu.Unlock()
								defer func() {
									if d.sent != sent || d.unmasks != unmasks || d.unbinds != unbinds {
										t.Error("the device was used after the end")
									}
								}()
							}
						}
					})
				}
				workers.Wait()
			})
		})
	}
}
