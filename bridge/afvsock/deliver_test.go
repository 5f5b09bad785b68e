package afvsock

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"xvsock/bridge/vhost"
	"xvsock/mux"
	"xvsock/vsock"
)

func TestWhatALinkDelivers(t *testing.T) {
	head := mux.Packet{Local: 80, Remote: 5000, Type: 1, Op: 1, BufAlloc: 4096, FwdCnt: 9}
	with := func(f func(*mux.Packet)) mux.Packet {
		p := head
		f(&p)
		return p
	}
	parcels := func(f func(*vhost.Header), data string) []parcel {
		h := vhost.Header{Src: 5000, Dst: 80, Type: 1, Op: 1, BufAlloc: 4096, FwdCnt: 9}
		f(&h)
		return []parcel{{h, data}}
	}
	tests := []struct {
		name string
		p    mux.Packet
		a, b string
		want []parcel
	}{
		{name: "REQUEST, seen from the other side", p: head, want: parcels(func(*vhost.Header) {}, "")},
		{name: "data in two pieces", p: with(func(p *mux.Packet) { p.Op = 5 }), a: "hel", b: "lo", want: parcels(func(h *vhost.Header) { h.Op = 5 }, "hello")},
		{name: "the reason of RST stays here", p: with(func(p *mux.Packet) { p.Op, p.Flags = 3, 6 }), want: parcels(func(h *vhost.Header) { h.Op = 3 }, "")},
		{name: "SHUTDOWN says which ways", p: with(func(p *mux.Packet) { p.Op, p.Flags = 4, 2 }), want: parcels(func(h *vhost.Header) { h.Op, h.Flags = 4, 2 }, "")},
		{name: "flags that an operation does not have are dropped", p: with(func(p *mux.Packet) { p.Op, p.Flags = 6, 0xFFFF }), want: parcels(func(h *vhost.Header) { h.Op = 6 }, "")},
		{name: "the end of a SEQPACKET message", p: with(func(p *mux.Packet) { p.Type, p.Op, p.Flags = 2, 5, 3 }), a: "x", want: parcels(func(h *vhost.Header) { h.Type, h.Op, h.Flags = 2, 5, 3 }, "x")},
		{name: "no such type", p: with(func(p *mux.Packet) { p.Type = 3 })},
		{name: "no such operation", p: with(func(p *mux.Packet) { p.Op = 8 })},
		{name: "a payload where there is none", p: head, a: "x"},
		{name: "two pieces that are too much together", p: with(func(p *mux.Packet) { p.Op = 5 }), a: string(make([]byte, vhost.MaxPayload)), b: "x"},
		{name: "from port 0", p: with(func(p *mux.Packet) { p.Remote = 0 })},
		{name: "to the port any", p: with(func(p *mux.Packet) { p.Local = vsock.PortAny })},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{}, Peer{5, 5}).run()
				defer r.end()
				d, i := r.device(5)
				if !i.deliver(&fakeSession{}, tc.p, []byte(tc.a), []byte(tc.b)) {
					t.Error("not taken, and it would stop the link")
				}
				if diff := cmp.Diff(tc.want, d.taken(), sameParcels...); diff != "" {
					t.Errorf("to the kernel (-want +got):\n%s", diff)
				}
				if dropped := r.s.Status().Instances[0].Dropped; (dropped == 1) != (tc.want == nil) {
					t.Errorf("%d packets counted as dropped", dropped)
				}
			})
		})
	}
}

// data is a packet of data of connection n.
func data(n uint32) mux.Packet { return mux.Packet{Local: 80, Remote: n, Type: 1, Op: mux.OpData} }

// order is what the kernel was given, in short.
func order(all []parcel) (s []string) {
	for _, p := range all {
		if p.h.Op == mux.OpReset {
			s = append(s, fmt.Sprintf("RST %d", p.h.Src))
		} else {
			s = append(s, fmt.Sprintf("%s %d", p.data, p.h.Src))
		}
	}
	return s
}

func TestNothingOvertakesOnTheWayToTheKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}).run()
		defer r.end()
		d, i := r.device(5)
		d.allow(1)
		ses := &fakeSession{}
		if !i.deliver(ses, data(1), []byte("a"), nil) {
			t.Fatal("there was room for one")
		}
		i.Reset(data(1))
		i.Reset(data(2))
		if i.deliver(ses, data(3), []byte("b"), nil) {
			t.Fatal("data was taken while RSTs wait")
		}
		d.allow(1) // one of the two RSTs
		synctest.Wait()
		if woken, _ := ses.counts(); woken != 0 {
			t.Fatal("woken while an RST waits")
		}
		if i.deliver(ses, data(3), []byte("b"), nil) {
			t.Fatal("data overtook an RST")
		}
		d.allow(-1)
		synctest.Wait()
		if woken, _ := ses.counts(); woken != 1 {
			t.Fatalf("woken %d times, want once", woken)
		}
		if !i.deliver(ses, data(3), []byte("b"), nil) {
			t.Fatal("there is room")
		}
		if diff := cmp.Diff([]string{"a 1", "RST 1", "RST 2", "b 3"}, order(d.taken())); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestAnRSTThatWaitsGoesBeforeWhatComesWhenThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}).run()
		defer r.end()
		d, i := r.device(5)
		d.allow(0)
		i.Reset(data(1))
		setSpace := func(n int) { // of which nobody is told
			d.mu.Lock()
			defer d.mu.Unlock()
			d.space = n
		}
		setSpace(-1)
		if !i.deliver(&fakeSession{}, data(2), []byte("b"), nil) {
			t.Fatal("there is room")
		}
		i.Reset(data(2))
		setSpace(0)
		i.Reset(data(3))
		setSpace(-1)
		i.Reset(data(4))
		if diff := cmp.Diff([]string{"RST 1", "b 2", "RST 2", "RST 3", "RST 4"}, order(d.taken())); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestAllSessionsThatWaitAreWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}).run()
		defer r.end()
		d, i := r.device(5)
		d.allow(0)
		a, b := &fakeSession{}, &fakeSession{}
		for range 3 {
			i.deliver(a, data(1), nil, nil)
			i.deliver(b, data(2), nil, nil)
		}
		d.allow(-1)
		synctest.Wait()
		for _, s := range []*fakeSession{a, b} {
			if woken, _ := s.counts(); woken != 1 {
				t.Errorf("woken %d times, want once", woken)
			}
		}
	})
}

func TestAKernelThatTakesNothing(t *testing.T) {
	tests := []struct {
		name   string
		wait   func(i *instance, s *fakeSession) // makes something wait
		meant  func(d *fakeDevice, i *instance)  // after 1.9 s
		failed bool                              // 0.2 s later
	}{
		{"is closed after 2 s when a frame waits",
			func(i *instance, s *fakeSession) { i.deliver(s, data(1), nil, nil) }, func(*fakeDevice, *instance) {}, true},
		{"is closed after 2 s when an RST waits",
			func(i *instance, _ *fakeSession) { i.Reset(data(1)) }, func(*fakeDevice, *instance) {}, true},
		{"is left alone when nothing waits",
			func(*instance, *fakeSession) {}, func(*fakeDevice, *instance) {}, false},
		{"is left alone when it takes something in time, though others wait on",
			func(i *instance, _ *fakeSession) { i.Reset(data(1)); i.Reset(data(2)) },
			func(d *fakeDevice, _ *instance) { d.allow(1) }, false},
		{"is left alone when whoever waited has gone",
			func(i *instance, s *fakeSession) { i.deliver(s, data(1), nil, nil) },
			func(d *fakeDevice, _ *instance) { d.allow(-1); synctest.Wait(); d.allow(0) }, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{}, Peer{5, 5}).run()
				defer r.end()
				d, i := r.device(5)
				d.allow(0)
				ses := &fakeSession{}
				tc.wait(i, ses)
				pass(stallTime - 100*time.Millisecond)
				if d.gone() {
					t.Fatal("closed before its time")
				}
				tc.meant(d, i)
				pass(200 * time.Millisecond)
				if d.gone() != tc.failed {
					t.Fatalf("closed: %v, want %v", d.gone(), tc.failed)
				}
				if !tc.failed {
					return
				}
				pass(minReopen)
				if _, again := r.device(5); again == i {
					t.Error("not made again")
				}
				if st := r.s.Status().Instances[0]; st.Stalls != 1 || st.Reopened != 1 {
					t.Errorf("%d stalls, %d times made again counted; want 1 and 1", st.Stalls, st.Reopened)
				}
				if n := r.logged("takes no packets"); n != 1 {
					t.Errorf("logged %d times", n)
				}
			})
		})
	}
}

func TestAStallLaterIsFoundToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}).run()
		defer r.end()
		d, i := r.device(5)
		for range 3 {
			d.allow(0)
			i.Reset(data(1))
			pass(stallTime / 2)
			d.allow(-1)
			pass(10 * stallTime)
		}
		if d.gone() {
			t.Fatal("closed though it took everything in time")
		}
		d.allow(0)
		i.Reset(data(1))
		pass(stallTime + time.Millisecond)
		if !d.gone() {
			t.Error("a stall after others that passed was not found")
		}
	})
}

func TestALongWaitThatIsServedOneByOneIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}).run()
		defer r.end()
		d, i := r.device(5)
		d.allow(0)
		for n := range uint32(20) {
			i.Reset(data(n + 1))
		}
		for range 20 {
			pass(stallTime - time.Millisecond)
			d.allow(1)
		}
		synctest.Wait()
		if d.gone() || len(d.taken()) != 20 {
			t.Error("closed, or not all taken")
		}
	})
}

func TestMoreSessionsThanThereCanBeFailTheInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}).run()
		defer r.end()
		d, i := r.device(5)
		d.allow(0)
		for range maxWaiters {
			if i.deliver(&fakeSession{}, data(1), nil, nil) {
				t.Fatal("taken without room")
			}
		}
		if err := i.failure(); err != nil {
			t.Fatalf("failed too early: %v", err)
		}
		last := &fakeSession{}
		i.deliver(last, data(1), nil, nil)
		if _, w := last.counts(); w != 1 {
			t.Error("the session that cannot wait was not withdrawn from")
		}
		pass(minReopen)
		if !d.gone() {
			t.Error("still open")
		}
	})
}

func TestAClosedInstanceTakesNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}).run()
		defer r.end()
		d, i := r.device(5)
		d.allow(0)
		waits := &fakeSession{}
		i.deliver(waits, data(1), nil, nil)
		i.Lost()
		pass(time.Millisecond)
		if woken, _ := waits.counts(); woken != 1 {
			t.Errorf("the session that waited was woken %d times: its link would stand still", woken)
		}
		// The fake panics if it is sent anything now.
		ses := &fakeSession{}
		if !i.deliver(ses, mux.Packet{Local: 80, Remote: 1, Type: 1, Op: mux.OpRequest}, nil, nil) {
			t.Error("the link would stand still")
		}
		if _, w := ses.counts(); w != 1 {
			t.Error("a connection was left that has no instance")
		}
		i.Reset(data(1))
		i.Lost()
	})
}

func TestPacketsCostNoAllocation(t *testing.T) {
	s := New(Config{Open: func(uint32) (Device, error) { return nil, vhost.ErrUnavailable }})
	s.stack = quietStack{}
	dev := quietDevice{end: make(chan struct{})}
	i := s.newInstance(Peer{5, 5}, dev, new(tally))
	defer i.close()
	payload := make([]byte, 1000)
	from := (*mux.Session)(nil)
	h := vhost.Header{Src: 5000, Dst: 80, Type: 1, Op: mux.OpData}
	if n := testing.AllocsPerRun(1000, func() {
		i.Deliver(from, data(1), payload, nil)
		i.Reset(data(1))
		i.packet(fromKernel(h), payload)
	}); n != 0 {
		t.Errorf("%v allocations for three packets", n)
	}
}

// quietStack takes everything and keeps nothing.
type quietStack struct{ Stack }

func (quietStack) Send(uint32, mux.Relay, mux.Packet, []byte) error { return nil }
func (quietStack) Withdraw(uint32, mux.Relay)                       {}

// quietDevice takes everything and sends nothing.
type quietDevice struct {
	Device
	end chan struct{}
}

func (quietDevice) Flush() {}

func (d quietDevice) Receive() (vhost.Header, []byte, error) {
	<-d.end
	return vhost.Header{}, nil, errFakeClosed
}
func (quietDevice) Send(vhost.Header, []byte, []byte) bool { return true }
func (quietDevice) Room() <-chan struct{}                  { return nil }
func (d quietDevice) Close() error                         { close(d.end); return nil }
