package evtchn

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"xvsock/xen"
)

// stubDevice is a device that finds fault with every use after Abandon that reaches
// it but for Close of a Channel, which a device answers by itself.
type stubDevice struct {
	mu        sync.Mutex
	faults    *[]string
	last      xen.Port
	bound     map[xen.Port]*stubChannel
	unbinds   atomic.Int64
	abandoned bool
	closed    bool
}

// ports counts the ports that are bound.
func (d *stubDevice) ports() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.bound)
}

type stubChannel struct {
	device *stubDevice
	port   xen.Port
	event  chan struct{}
	sent   int
}

func (d *stubDevice) Unbound(xen.DomID) (Channel, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.abandoned {
		return nil, ErrAbandoned
	}
	d.last++
	c := &stubChannel{device: d, port: d.last, event: make(chan struct{}, 1)}
	d.bound[c.port] = c
	return c, nil
}

func (d *stubDevice) Interdomain(xen.DomID, xen.Port) (Channel, error) { return d.Unbound(0) }

func (d *stubDevice) Abandon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.abandoned = true
	for _, c := range d.bound {
		select {
		case c.event <- struct{}{}:
		default:
		}
	}
}

func (d *stubDevice) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.abandoned:
		*d.faults = append(*d.faults, "the device was closed after Abandon")
	case d.closed:
		*d.faults = append(*d.faults, "the device was closed twice")
	}
	d.closed = true
	clear(d.bound)
	return nil
}

func (c *stubChannel) Port() xen.Port         { return c.port }
func (c *stubChannel) Event() <-chan struct{} { return c.event }

func (c *stubChannel) use() error {
	c.device.mu.Lock()
	defer c.device.mu.Unlock()
	switch {
	case c.device.abandoned:
		return ErrAbandoned
	case c.device.bound[c.port] != c:
		*c.device.faults = append(*c.device.faults, "use of a port that is not bound")
	}
	c.sent++
	return nil
}

func (c *stubChannel) Notify() error { return c.use() }
func (c *stubChannel) Unmask() error { return c.use() }

func (c *stubChannel) Close() error {
	c.device.mu.Lock()
	defer c.device.mu.Unlock()
	if c.device.abandoned {
		return ErrAbandoned
	}
	if c.device.bound[c.port] == c {
		delete(c.device.bound, c.port)
		c.device.unbinds.Add(1)
	}
	return nil
}

// bench is a Resumable over stubs, whose Settle takes a second.
type bench struct {
	*Resumable
	t       rapid.TB
	devices []*stubDevice
	faults  []string
	settled atomic.Int64
	fail    atomic.Bool // Settle does
	openErr error
	kept    []Device
	log     strings.Builder
}

func newBench(t rapid.TB, change func(*ResumableConfig)) *bench {
	b := &bench{t: t}
	cfg := ResumableConfig{
		Open: func() (Device, error) {
			if b.openErr != nil {
				return nil, b.openErr
			}
			d := &stubDevice{faults: &b.faults, bound: make(map[xen.Port]*stubChannel), last: 7}
			b.devices = append(b.devices, d)
			return d, nil
		},
		Settle: func(ctx context.Context) error {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
			b.settled.Add(1)
			if b.fail.Load() {
				return errors.New("no answer")
			}
			return nil
		},
		Log: slog.New(slog.NewTextHandler(&b.log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if b.Resumable, err = NewResumable(cfg); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) bind() Channel {
	b.t.Helper()
	c, err := b.Unbound(3)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// now is the device in use.
func (b *bench) now() *stubDevice { return b.devices[len(b.devices)-1] }

// end closes it all and reports what was wrong.
func (b *bench) end() {
	b.t.Helper()
	if err := b.Close(); err != nil {
		b.t.Errorf("Close: %v", err)
	}
	for _, fault := range b.faults {
		b.t.Errorf("fault: %s", fault)
	}
}

func TestAClosedChannelIsUnusableAtOnceAndUnboundLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		defer b.end()
		c := b.bind()
		if err := errors.Join(c.Notify(), c.Unmask(), c.Close(), c.Close()); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{c.Notify(), c.Unmask()} {
			if !errors.Is(err, os.ErrClosed) || errors.Is(err, ErrAbandoned) {
				t.Errorf("use after Close: %v", err)
			}
		}
		time.Sleep(999 * time.Millisecond)
		if b.now().unbinds.Load() != 0 {
			t.Error("the port was unbound before Settle returned")
		}
		time.Sleep(2 * time.Millisecond)
		if b.now().unbinds.Load() != 1 {
			t.Error("the port was not unbound after it")
		}
	})
}

// alone has goroutines run one after the other, so that one which was begun does not
// before this one waits.
func alone(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

func TestManyClosesShareASettleThatBeginsAfterThem(t *testing.T) {
	alone(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		defer b.end()
		for range 100 {
			b.bind().Close()
		}
		time.Sleep(500 * time.Millisecond)
		b.bind().Close()
		time.Sleep(501 * time.Millisecond)
		if b.now().unbinds.Load() != 100 || b.settled.Load() != 1 {
			t.Errorf("%d unbound after %d settles; the one closed meanwhile has to wait", b.now().unbinds.Load(), b.settled.Load())
		}
		time.Sleep(time.Second)
		if b.now().unbinds.Load() != 101 || b.settled.Load() != 2 {
			t.Errorf("%d unbound after %d settles", b.now().unbinds.Load(), b.settled.Load())
		}
		time.Sleep(time.Minute)
		if b.settled.Load() != 2 {
			t.Error("it settles though nothing is to be unbound")
		}
	})
}

func TestNothingIsTouchedAfterAbandon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		defer b.end()
		open, closed := b.bind(), b.bind()
		closed.Close()
		time.Sleep(500 * time.Millisecond)
		old := b.now()
		b.Abandon()
		b.Abandon()
		if !got(open) {
			t.Error("who waits was not woken")
		}
		if _, err := b.Unbound(3); !errors.Is(err, ErrAbandoned) {
			t.Errorf("Unbound: %v", err)
		}
		if _, err := b.Interdomain(3, 4); !errors.Is(err, ErrAbandoned) {
			t.Errorf("Interdomain: %v", err)
		}
		if err := errors.Join(b.Reopen(), b.Reopen()); err != nil {
			t.Fatal(err)
		}
		fresh := b.bind()
		if fresh.Port() != open.Port() {
			t.Fatal("the test needs the same port again")
		}
		for _, err := range []error{open.Notify(), open.Unmask(), open.Close()} {
			if !errors.Is(err, ErrAbandoned) {
				t.Errorf("use of what was bound before: %v", err)
			}
		}
		time.Sleep(time.Minute)
		if old.unbinds.Load()+b.now().unbinds.Load() != 0 {
			t.Error("a port was unbound")
		}
		if err := errors.Join(fresh.Notify(), fresh.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestADomainThatIsNeverSuspendedUnbindsAtOnce(t *testing.T) {
	b := newBench(t, func(c *ResumableConfig) { c.Settle = nil })
	b.bind().Close()
	if b.now().unbinds.Load() != 1 {
		t.Error("not unbound")
	}
	b.end()
}

func TestCloseSettlesAndClosesTheDevice(t *testing.T) {
	for name, tt := range map[string]struct {
		settle func(context.Context) error
		takes  time.Duration
		closed bool
	}{
		"a settle of a second": {nil, time.Second, true},
		"one that never comes": {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, closeWait, false},
		"one that cannot be":   {func(context.Context) error { return errors.New("no xenstore") }, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b *bench
				b = newBench(t, func(c *ResumableConfig) {
					if tt.settle != nil {
						c.Settle = tt.settle
					}
					c.Keep = func(d Device) error { b.kept = append(b.kept, d); return nil }
				})
				c := b.bind()
				b.bind().Close()
				start := time.Now()
				b.end()
				b.end()
				d := b.now()
				if took := time.Since(start); took != tt.takes || d.closed != tt.closed || d.unbinds.Load() != 0 {
					t.Errorf("closed %v after %v, with %d ports unbound one by one", d.closed, took, d.unbinds.Load())
				}
				if kept := len(b.kept) == 1; d.abandoned == tt.closed || kept == tt.closed {
					t.Errorf("abandoned %v, kept %v", d.abandoned, b.kept)
				}
				if _, err := b.Unbound(3); !errors.Is(err, os.ErrClosed) || errors.Is(err, ErrAbandoned) {
					t.Errorf("Unbound after Close: %v", err)
				}
				if err := b.Reopen(); !errors.Is(err, os.ErrClosed) {
					t.Errorf("Reopen after Close: %v", err)
				}
				if err := c.Close(); err != nil && (tt.closed || !errors.Is(err, ErrAbandoned)) {
					t.Error(err)
				}
				b.Abandon() // does nothing
			})
		})
	}
}

func TestADeviceThatIsAbandonedWhileItIsToBeClosedIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *bench
		b = newBench(t, func(c *ResumableConfig) {
			c.Keep = func(d Device) error { b.kept = append(b.kept, d); return nil }
		})
		b.bind()
		time.AfterFunc(500*time.Millisecond, b.Abandon)
		b.end()
		if b.now().closed || !b.now().abandoned || len(b.kept) != 1 {
			t.Errorf("closed %v, abandoned %v, kept %d", b.now().closed, b.now().abandoned, len(b.kept))
		}
	})
}

func TestASettleThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		defer b.end()
		b.fail.Store(true)
		b.bind().Close()
		time.Sleep(time.Minute)
		if b.now().unbinds.Load() != 0 || b.settled.Load() < 20 || b.settled.Load() > 40 {
			t.Errorf("%d ports unbound after %d settles that failed", b.now().unbinds.Load(), b.settled.Load())
		}
		b.fail.Store(false)
		time.Sleep(3 * time.Second)
		if b.now().unbinds.Load() != 1 {
			t.Error("the port stays bound")
		}
	})
}

func TestReopenCanBeTriedAgain(t *testing.T) {
	b := newBench(t, nil)
	b.Abandon()
	b.openErr = ErrNoPorts
	if err := b.Reopen(); !errors.Is(err, ErrNoPorts) {
		t.Error(err)
	}
	if _, err := b.Unbound(3); !errors.Is(err, ErrAbandoned) {
		t.Error(err)
	}
	b.openErr = nil
	if err := b.Reopen(); err != nil {
		t.Error(err)
	}
	b.bind()
	b.Abandon()
	b.end()
}

func TestAResumableAddsNoAllocationToAMessage(t *testing.T) {
	b := newBench(t, nil)
	b.Abandon() // so that the end needs no settle
	b.Reopen()
	c := b.bind()
	if n := testing.AllocsPerRun(100, func() {
		if c.Notify() != nil || c.Unmask() != nil || c.Event() == nil {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	b.Abandon()
	b.end()
}

// Whatever is done in whatever order: a device that was abandoned is not touched, a
// channel that is in use works, one that was closed is unbound within two settles
// unless its device was abandoned.
func TestAnyOrderOfSuspendsAndCloses(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var actions []string
		for range rapid.IntRange(1, 40).Draw(rt, "actions") {
			actions = append(actions, rapid.SampledFrom([]string{"bind", "close", "use", "abandon", "reopen", "wait"}).Draw(rt, "action"))
		}
		pick := rapid.IntRange(0, 1<<20).Draw(rt, "pick")
		synctest.Test(t, func(t *testing.T) {
			b := newBench(rt, nil)
			var inUse []Channel
			down := false
			for i, action := range actions {
				n := len(inUse)
				at := (pick + i) % max(n, 1)
				switch {
				case action == "bind" && !down:
					inUse = append(inUse, b.bind())
				case action == "close" && n > 0:
					if err := inUse[at].Close(); err != nil {
						rt.Errorf("Close: %v", err)
					}
					inUse = append(inUse[:at], inUse[at+1:]...)
				case action == "use" && n > 0:
					if err := errors.Join(inUse[at].Notify(), inUse[at].Unmask()); err != nil {
						rt.Errorf("use: %v", err)
					}
				case action == "abandon":
					b.Abandon()
					inUse, down = nil, true
				case action == "reopen":
					down = false
					if err := b.Reopen(); err != nil {
						rt.Error(err)
					}
				case action == "wait":
					time.Sleep(time.Duration(pick%1500) * time.Millisecond)
				}
			}
			time.Sleep(3 * time.Second)
			if n := b.now().ports(); !down && n != len(inUse) {
				rt.Errorf("%d ports are bound, %d in use", n, len(inUse))
			}
			b.end()
		})
	})
}
