package evtchn

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"xvsock/xen"
)

func TestMain(m *testing.M) {
	switch {
	case os.Args[0] == KeeperName:
		RunKeeper()
	case os.Getenv("KEEP_AND_EXIT") != "":
		keepAndExit()
	}
	goleak.VerifyTestMain(m)
}

var errQuit = errors.New("the test is over")

// fakeDevice behaves as drivers/xen/evtchn.c: a port that delivered an event is
// held back until it is written, an event meanwhile comes after that, queued
// events survive the unbind, the lowest free port is given out next. It keeps a
// list of everything that the real one does not allow.
type fakeDevice struct {
	mu    sync.Mutex
	cond  *sync.Cond
	ports map[xen.Port]*fakePort
	queue []uint32

	limit      int              // ports in all; 0: any number
	fails      map[string]error // by the name of the call
	held       bool             // read waits although events are queued
	eventFirst bool             // interdomain returns after its event was read

	reading, closed, abandoned, kept, quit bool

	sent, unmasks, unbinds int
	violations             []string
}

type fakePort struct {
	enabled, pending bool
	peer             xen.Port // on this device, if not 0
}

func newFake() *fakeDevice {
	d := &fakeDevice{ports: make(map[xen.Port]*fakePort), fails: make(map[string]error)}
	d.cond = sync.NewCond(&d.mu)
	return d
}

// enter begins each call with mu held.
func (d *fakeDevice) enter(call string) error {
	d.mu.Lock()
	if d.closed || d.abandoned {
		return os.ErrClosed // as sys.FD, without reaching the device
	}
	return d.fails[call]
}

func (d *fakeDevice) violate(format string, args ...any) {
	d.violations = append(d.violations, fmt.Sprintf(format, args...))
}

func (d *fakeDevice) bind(peer xen.Port) (xen.Port, error) {
	if d.limit > 0 && len(d.ports) >= d.limit {
		return 0, syscall.ENOSPC
	}
	port := xen.Port(8)
	for d.ports[port] != nil {
		port++
	}
	d.ports[port] = &fakePort{enabled: true, peer: peer}
	return port, nil
}

func (d *fakeDevice) unbound(xen.DomID) (xen.Port, error) {
	err := d.enter("unbound")
	defer d.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return d.bind(0)
}

func (d *fakeDevice) interdomain(remote xen.DomID, far xen.Port) (xen.Port, error) {
	err := d.enter("interdomain")
	defer d.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if remote != xen.DomIDSelf {
		far = 0 // a port of another domain
	}
	port, err := d.bind(far)
	if err != nil {
		return 0, err
	}
	d.arrive(port)
	if d.eventFirst {
		d.letTheReaderAct()
	}
	return port, nil
}

// letTheReaderAct waits until the events were read, and gives the reader every
// chance to hand them on. The caller holds mu.
func (d *fakeDevice) letTheReaderAct() {
	for len(d.queue) > 0 {
		d.cond.Wait()
	}
	d.mu.Unlock()
	for range 1000 {
		runtime.Gosched()
	}
	d.mu.Lock()
}

// arrive is an event on port. The caller holds mu.
func (d *fakeDevice) arrive(port xen.Port) {
	p := d.ports[port]
	switch {
	case p == nil:
	case !p.enabled:
		p.pending = true
	default:
		p.enabled = false
		d.queue = append(d.queue, uint32(port))
		d.cond.Broadcast()
	}
}

func (d *fakeDevice) unbind(port xen.Port) error {
	err := d.enter("unbind")
	defer d.mu.Unlock()
	if err != nil {
		return err
	}
	d.unbinds++
	if d.ports[port] == nil {
		d.violate("unbind of port %d, which is not bound", port)
		return syscall.ENOTCONN
	}
	delete(d.ports, port)
	return nil
}

func (d *fakeDevice) notify(port xen.Port) error {
	err := d.enter("notify")
	defer d.mu.Unlock()
	if err != nil {
		return err
	}
	p := d.ports[port]
	if p == nil {
		d.violate("notify of port %d, which is not bound", port)
		return syscall.ENOTCONN
	}
	d.sent++
	d.arrive(p.peer)
	return nil
}

func (d *fakeDevice) unmask(port xen.Port) error {
	err := d.enter("unmask")
	defer d.mu.Unlock()
	if err != nil {
		return err
	}
	d.unmasks++
	p := d.ports[port]
	if p == nil {
		d.violate("write of port %d, which is not bound", port)
		return nil
	}
	if p.enabled {
		return nil
	}
	p.enabled = true
	if p.pending {
		p.pending = false
		d.arrive(port)
	}
	return nil
}

func (d *fakeDevice) read(ports []uint32) (int, error) {
	err := d.enter("read")
	defer d.mu.Unlock()
	if err != nil {
		return 0, err
	}
	d.reading = true
	defer func() { d.reading = false }()
	for len(d.queue) == 0 || d.held {
		if d.quit {
			return 0, errQuit
		}
		if err := d.fails["read"]; err != nil {
			return 0, err
		}
		d.cond.Wait()
	}
	n := copy(ports, d.queue)
	d.queue = d.queue[n:]
	d.cond.Broadcast()
	return n, nil
}

// take implements device.
func (d *fakeDevice) take(ports []uint32) (int, error) {
	d.mu.Lock()
	empty := len(d.queue) == 0
	d.mu.Unlock()
	if empty {
		d.mu.Lock()
		d.violate("take with nothing there")
		d.mu.Unlock()
	}
	return d.read(ports)
}

// pause implements device.
func (d *fakeDevice) pause(t time.Duration) { time.Sleep(t) }

// poll implements device.
func (d *fakeDevice) poll(t time.Duration) (bool, error) {
	for end := time.Now().Add(t); ; time.Sleep(t / 16) {
		err := d.enter("poll")
		n := len(d.queue)
		d.mu.Unlock()
		if err != nil || n > 0 || !time.Now().Before(end) {
			return n > 0, err
		}
	}
}

func (d *fakeDevice) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.abandoned:
		d.violate("close after abandon")
	case d.closed:
		d.violate("close twice")
	case d.reading:
		d.violate("close under a read, which it does not end")
	}
	d.closed = true
	clear(d.ports)
	return d.fails["close"]
}

func (d *fakeDevice) abandon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.abandoned = true
}

func (d *fakeDevice) dup() (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.abandoned {
		return nil, os.ErrClosed
	}
	return os.Open(os.DevNull)
}

func (d *fakeDevice) keepAcrossExec() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.abandoned {
		return errors.New("in use")
	}
	d.kept = true
	return nil
}

// event is what another domain does to send an event to port.
func (d *fakeDevice) event(ports ...xen.Port) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, port := range ports {
		d.arrive(port)
	}
}

// set changes how the device behaves and wakes whoever waits in it.
func (d *fakeDevice) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	d.cond.Broadcast()
}

// with runs a test on a Kernel over a fake device and looks for violations and a
// reader left behind.
func with(t *testing.T, test func(t *testing.T, d *fakeDevice, k *Kernel)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := newFake()
		k, err := newKernel(d)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		d.unmasks = 0 // that of the event which binding wake to stop leaves
		test(t, d, k)
		if err := k.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		d.set(func() { d.quit = true })
		synctest.Wait()
		select {
		case <-k.ended:
		default:
			t.Error("the reader is left behind")
		}
		for _, v := range d.violations {
			t.Error(v)
		}
	})
}

func must(t *testing.T) func(c Channel, err error) Channel {
	return func(c Channel, err error) Channel {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// got reports whether an event is there, once all is quiet.
func got(c Channel) bool {
	synctest.Wait()
	select {
	case <-c.Event():
		return true
	default:
		return false
	}
}
