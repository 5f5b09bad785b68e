package vhost

import (
	"errors"
	"os"
	"sync"
	"testing"
	"testing/synctest"
)

func TestCloseEndsAReceiveThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, k := newFake(smallShape())
		i.start()
		ended := make(chan error)
		go func() {
			_, _, err := i.Receive()
			ended <- err
		}()
		synctest.Wait()
		if err := i.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrClosed) {
			t.Errorf("Receive: %v, want %v", err, os.ErrClosed)
		}
		if k.unmapped() != 1 {
			t.Errorf("unmapped %d times", k.unmapped())
		}
		if err := i.Close(); err != nil {
			t.Errorf("Close again: %v", err)
		}
		if _, _, err := i.Receive(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Receive: %v, want %v", err, os.ErrClosed)
		}
		if k.unmapped() != 1 {
			t.Errorf("unmapped %d times", k.unmapped())
		}
	})
}

func TestPayloadOutlivesClose(t *testing.T) {
	i, k := newFake(smallShape())
	i.start()
	k.deliver(fromKernel(opRW), []byte("payload"))
	_, payload, err := i.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if k.unmapped() != 0 || string(payload) != "payload" {
		t.Errorf("the payload that a program reads is gone: %q", payload)
	}
	if _, _, err := i.Receive(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Receive: %v, want %v", err, os.ErrClosed)
	}
	if k.unmapped() != 1 {
		t.Errorf("unmapped %d times after Receive has ended", k.unmapped())
	}
}

// lateEvent is one whose Wait returns only some time after Close.
type lateEvent struct {
	*fakeEvent
	late chan struct{}
}

func (e lateEvent) Wait() error {
	err := e.fakeEvent.Wait()
	<-e.late
	return err
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	for _, c := range []struct {
		name string
		late func(*Instance, *fake, chan struct{})
	}{
		{"that waits for room", func(i *Instance, k *fake, late chan struct{}) { i.device.txCall = lateEvent{k.txCall, late} }},
		{"that waits for a fault", func(i *Instance, k *fake, late chan struct{}) { i.device.fault = lateEvent{k.fault, late} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i, k := newFake(smallShape())
				late := make(chan struct{})
				c.late(i, k, late)
				i.start()
				closed := make(chan error, 1)
				go func() { closed <- i.Close() }()
				synctest.Wait()
				if len(closed) != 0 || k.unmapped() != 0 {
					t.Errorf("Close has not waited; unmapped %d times", k.unmapped())
				}
				close(late)
				if err := <-closed; err != nil || k.unmapped() != 1 {
					t.Errorf("%v, unmapped %d times", err, k.unmapped())
				}
			})
		})
	}
}

func TestAFaultOfTheKernelBreaksTheInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, k := running(t, smallShape())
		for sendNow(i, toKernel(0), nil, nil) {
		}
		ended := make(chan error)
		go func() {
			_, _, err := i.Receive()
			ended <- err
		}()
		synctest.Wait()
		_ = k.fault.Signal()
		if err := <-ended; !errors.Is(err, ErrBroken) {
			t.Errorf("Receive: %v, want %v", err, ErrBroken)
		}
		<-i.Room() // who waits for room hears of it
		_ = i.Close()
		if _, _, err := i.Receive(); !errors.Is(err, ErrBroken) {
			t.Errorf("Receive after Close: %v, want the first reason, %v", err, ErrBroken)
		}
		if k.unmapped() != 1 {
			t.Errorf("unmapped %d times", k.unmapped())
		}
	})
}

func TestAKickThatFailsBreaksTheInstance(t *testing.T) {
	i, k := running(t, smallShape())
	_ = k.txKick.Close()
	sendNow(i, toKernel(0), nil, nil)
	if _, _, err := i.Receive(); !errors.Is(err, ErrBroken) {
		t.Errorf("Receive: %v, want %v", err, ErrBroken)
	}
}

// The fake overwrites the memory when it is unmapped, so that the race detector sees
// whoever is still in it.
func TestCloseAtAnyMoment(t *testing.T) {
	for range 200 {
		i, k := newFake(smallShape())
		i.start()
		var wg sync.WaitGroup
		wg.Go(func() { // the kernel
			for n := range 50 {
				k.mu.Lock()
				if k.stopped {
					k.mu.Unlock()
					return
				}
				k.deliver(fromKernel(opRW), []byte{byte(n)})
				k.take()
				k.mu.Unlock()
			}
		})
		wg.Go(func() {
			for {
				_, payload, err := i.Receive()
				if err != nil {
					if !errors.Is(err, os.ErrClosed) {
						t.Errorf("Receive: %v", err)
					}
					return
				}
				_ = payload[0]
			}
		})
		wg.Go(func() {
			for n := range 30 {
				for !sendNow(i, toKernel(n), []byte("x"), nil) {
					<-i.Room()
				}
			}
		})
		wg.Go(func() {
			for n := range 30 {
				sendNow(i, toKernel(n), nil, nil)
			}
		})
		for range 2 {
			wg.Go(func() {
				if err := i.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if k.unmapped() != 1 {
			t.Fatalf("unmapped %d times", k.unmapped())
		}
	}
}
