package afvsock

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/bridge/vhost"
	"xvsock/mux"
	"xvsock/vsock"
)

var errFakeClosed = errors.New("device closed")

// parcel is a packet and its payload.
type parcel struct {
	h    vhost.Header
	data string
}

// fakeDevice is a kernel's side of an instance, under the test's control.
type fakeDevice struct {
	cid  uint32
	in   chan parcel // what the kernel sends
	room chan struct{}
	end  chan struct{}
	slow time.Duration // that Close takes

	mu     sync.Mutex
	space  int // packets that it takes; -1: any number
	sent   []parcel
	full   bool // Send has returned false since room was told
	closed bool
}

func newFakeDevice(cid uint32) *fakeDevice {
	return &fakeDevice{cid: cid, in: make(chan parcel), room: make(chan struct{}, 1), end: make(chan struct{}), space: -1}
}

func (d *fakeDevice) Receive() (vhost.Header, []byte, error) {
	select {
	case p := <-d.in:
		return p.h, []byte(p.data), nil
	case <-d.end:
		return vhost.Header{}, nil, errFakeClosed
	}
}

func (d *fakeDevice) Send(h vhost.Header, a, b []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		panic("Send after Close: the memory is gone")
	}
	if d.space == 0 {
		d.full = true
		return false
	}
	if d.space > 0 {
		d.space--
	}
	d.sent = append(d.sent, parcel{h, string(a) + string(b)})
	return true
}

func (d *fakeDevice) Flush() {}

func (d *fakeDevice) Room() <-chan struct{} { return d.room }

func (d *fakeDevice) Close() error {
	time.Sleep(d.slow)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		panic("closed twice")
	}
	d.closed = true
	close(d.end)
	return nil
}

// allow lets the device take so many packets from now on, and tells of it.
func (d *fakeDevice) allow(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.space = n
	if n != 0 && d.full {
		d.full = false
		select {
		case d.room <- struct{}{}:
		default:
		}
	}
}

// taken returns what the kernel was given since the last call.
func (d *fakeDevice) taken() []parcel {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.sent
	d.sent = nil
	return all
}

func (d *fakeDevice) gone() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// sentFrame is what a fakeStack was asked to send.
type sentFrame struct {
	cid  uint32
	p    mux.Packet
	data string
}

// fakeStack is a Stack under the test's control.
type fakeStack struct {
	send  func(f sentFrame) error // nil: takes all
	reach func(ctx context.Context, addr vsock.Addr) error

	mu        sync.Mutex
	frames    []sentFrame
	reached   []vsock.Addr
	withdrawn map[mux.Relay]int
	peers     []vsock.Peer
}

func (s *fakeStack) Send(cid uint32, _ mux.Relay, p mux.Packet, payload []byte) error {
	f := sentFrame{cid, p, string(payload)}
	if s.send != nil {
		if err := s.send(f); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames = append(s.frames, f)
	return nil
}

func (s *fakeStack) Withdraw(_ uint32, r mux.Relay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.withdrawn == nil {
		s.withdrawn = make(map[mux.Relay]int)
	}
	s.withdrawn[r]++
}

func (s *fakeStack) Reach(ctx context.Context, addr vsock.Addr) error {
	s.mu.Lock()
	s.reached = append(s.reached, addr)
	s.mu.Unlock()
	if s.reach == nil {
		return nil
	}
	return s.reach(ctx, addr)
}

func (s *fakeStack) Peers() []vsock.Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.peers)
}

// setOpen says how many connections domain 5 has open.
func (s *fakeStack) setOpen(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers = []vsock.Peer{{Domain: 5, Relayed: n}}
}

// got returns what was sent since the last call.
func (s *fakeStack) got() []sentFrame {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.frames
	s.frames = nil
	return all
}

// fakeSession is a mux.Session as an instance sees it.
type fakeSession struct {
	mu                sync.Mutex
	woken, withdrawns int
	wake              func()
}

func (s *fakeSession) Wake() {
	s.mu.Lock()
	s.woken++
	f := s.wake
	s.mu.Unlock()
	if f != nil {
		f()
	}
}

func (s *fakeSession) Withdraw(mux.Relay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.withdrawns++
}

func (s *fakeSession) counts() (woken, withdrawn int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.woken, s.withdrawns
}

// rig is a Switch that runs over fakes, in a synctest bubble.
type rig struct {
	t     *testing.T
	s     *Switch
	stack *fakeStack
	log   *bytes.Buffer
	stop  context.CancelFunc
	ended chan struct{}

	mu      sync.Mutex
	devices []*fakeDevice // all that were opened
	refuse  func(cid uint32) error
	opens   int // calls of Open
	slow    time.Duration
}

// newRig starts a Switch with the peers. It is stopped at the end of the bubble.
func newRig(t *testing.T, cfg Config, peers ...Peer) *rig {
	t.Helper()
	r := &rig{t: t, stack: &fakeStack{}, log: new(bytes.Buffer), ended: make(chan struct{})}
	cfg.Open = r.open
	cfg.Log = slog.New(slog.NewTextHandler(&lockedWriter{b: r.log}, nil))
	r.s = New(cfg)
	r.s.SetPeers(peers)
	return r
}

// run starts it.
func (r *rig) run() *rig {
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() {
		r.s.Run(ctx, r.stack)
		close(r.ended)
	}()
	synctest.Wait()
	return r
}

// end stops it and checks that every device is closed.
func (r *rig) end() {
	r.t.Helper()
	r.stop()
	<-r.ended
	for _, d := range r.opened() {
		if !d.gone() {
			r.t.Errorf("the instance of CID %d is still open after Run", d.cid)
		}
	}
	if rel := r.s.Relay(5); rel != nil {
		r.t.Errorf("Relay(5) = %v after Run", rel)
	}
}

func (r *rig) open(cid uint32) (Device, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opens++
	if r.refuse != nil {
		if err := r.refuse(cid); err != nil {
			return nil, err
		}
	}
	d := newFakeDevice(cid)
	d.slow = r.slow
	r.devices = append(r.devices, d)
	return d, nil
}

func (r *rig) setRefuse(f func(cid uint32) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = f
}

// tried is how often Open was called.
func (r *rig) tried() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opens
}

func (r *rig) opened() []*fakeDevice {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.devices)
}

// live returns the CIDs of the devices that are open, in order.
func (r *rig) live() []uint32 {
	var all []uint32
	for _, d := range r.opened() {
		if !d.gone() {
			all = append(all, d.cid)
		}
	}
	slices.Sort(all)
	return all
}

// device returns the open device of a CID, and its instance.
func (r *rig) device(cid uint32) (*fakeDevice, *instance) {
	r.t.Helper()
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if sl := r.s.slots[cid]; sl != nil && sl.state == open {
		return sl.inst.dev.(*fakeDevice), sl.inst
	}
	r.t.Fatalf("CID %d has no instance", cid)
	return nil, nil
}

// pass lets the time pass and everything settle.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// logged is how many lines there are with text.
func (r *rig) logged(text string) (n int) {
	for line := range bytes.Lines(r.log.Bytes()) {
		if bytes.Contains(line, []byte(text)) {
			n++
		}
	}
	return n
}

type lockedWriter struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}
