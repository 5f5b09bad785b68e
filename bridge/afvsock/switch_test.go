package afvsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/bridge/vhost"
	"xvsock/mux"
	"xvsock/vsock"
	"xvsock/xen"
)

func TestEveryPeerHasAnInstanceAndEachDomainOneForWhatComesFromIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const self = 7
		r := newRig(t, Config{}, Peer{0x10000, 0}, Peer{vsock.CIDBackend, 0}, Peer{5, 5}, Peer{vsock.CIDSelf, self}, Peer{self, self}).run()
		defer r.end()
		if got, want := r.live(), []uint32{5, self, vsock.CIDSelf, vsock.CIDBackend, 0x10000}; !slices.Equal(got, want) {
			t.Fatalf("instances of %v, want %v", got, want)
		}
		for domain, cid := range map[xen.DomID]uint32{0: 0x10000, 5: 5, self: vsock.CIDSelf} {
			_, i := r.device(cid)
			for range 20 { // in whatever order it looks at the instances
				r.s.mu.Lock()
				r.s.publish()
				r.s.mu.Unlock()
				if got := r.s.Relay(domain); got != i {
					t.Fatalf("what comes from domain %d goes to %+v, want the instance of CID %d", domain, got, cid)
				}
			}
		}
		if got := r.s.Relay(6); got != nil {
			t.Errorf("Relay of a domain without instance = %v, want nil", got)
		}
	})
}

func TestTheBackendsOtherCIDTakesNoConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{vsock.CIDBackend, 0}).run()
		defer r.end()
		if got := r.s.Relay(0); got != nil {
			t.Errorf("what comes from the backend goes to %+v, whose CID is for connections from here", got)
		}
	})
}

func TestSetPeersOpensAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}).run()
		defer r.end()
		r.s.SetPeers([]Peer{{5, 5}, {6, 6}})
		synctest.Wait()
		five, i := r.device(5)
		r.s.SetPeers([]Peer{{6, 6}, {8, 8}})
		pass(time.Second)
		if got := r.live(); !slices.Equal(got, []uint32{6, 8}) {
			t.Errorf("instances of %v, want 6 and 8", got)
		}
		if !five.gone() || r.s.Relay(5) != nil {
			t.Error("the instance of a peer that left is still there")
		}
		if r.stack.withdrawn[i] == 0 {
			t.Error("the other side was not told of the end")
		}
		before := r.tried()
		r.s.SetPeers([]Peer{{6, 6}, {8, 8}})
		pass(time.Minute)
		if r.tried() != before {
			t.Error("something was opened though nothing has changed")
		}
	})
}

func TestAPeerThatLeaves(t *testing.T) {
	leave := func(r *rig) { r.s.SetPeers(nil) }
	tests := []struct {
		name  string
		then  func(t *testing.T, r *rig, d *fakeDevice, i *instance)
		after time.Duration // the instance is closed then
	}{
		{"is closed soon when nothing is open", func(_ *testing.T, r *rig, _ *fakeDevice, _ *instance) { leave(r) }, 2 * leaveLook},
		{"is closed when its last connection has ended", func(_ *testing.T, r *rig, _ *fakeDevice, _ *instance) {
			r.stack.setOpen(3)
			leave(r)
			pass(3 * time.Second)
			r.stack.setOpen(0)
		}, 3*time.Second + 3*leaveLook},
		{"is closed when the kernel has its RSTs", func(t *testing.T, r *rig, d *fakeDevice, i *instance) {
			d.allow(0)
			i.Reset(data(1))
			leave(r)
			pass(time.Second)
			d.allow(-1)
			synctest.Wait()
			if n := len(d.taken()); n != 1 {
				t.Errorf("the kernel was given %d RSTs, want 1", n)
			}
		}, time.Second + 3*leaveLook},
		{"is closed after 10 s at the latest", func(_ *testing.T, r *rig, _ *fakeDevice, _ *instance) {
			r.stack.setOpen(3)
			leave(r)
		}, leaveTime + leaveLook},
		{"is closed at once when its link is lost", func(_ *testing.T, r *rig, _ *fakeDevice, i *instance) {
			r.stack.setOpen(3)
			leave(r)
			pass(time.Second)
			i.Lost()
		}, time.Second + time.Millisecond},
		{"is closed at once when its CID is another domain's", func(_ *testing.T, r *rig, _ *fakeDevice, _ *instance) {
			r.stack.setOpen(3)
			r.s.SetPeers([]Peer{{5, 6}})
		}, time.Millisecond},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{}, Peer{5, 5}).run()
				defer r.end()
				d, i := r.device(5)
				start := time.Now()
				tc.then(t, r, d, i)
				early := tc.after - 5*leaveLook
				if pass(early - time.Since(start)); early > time.Since(start) && d.gone() {
					t.Fatalf("closed before %v", early)
				}
				pass(tc.after - time.Since(start))
				if !d.gone() {
					t.Fatalf("not closed after %v", tc.after)
				}
				pass(time.Minute)
				for _, peer := range r.live() {
					if _, again := r.device(peer); again.peer == (Peer{5, 5}) {
						t.Error("made again for a peer that left")
					}
				}
			})
		})
	}
}

func TestAnInstanceStaysUntilTheKernelHasTakenTheLastRST(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}).run()
		defer r.end()
		d, _ := r.device(5)
		r.s.SetPeers(nil)
		pass(leaveLook + leaveLook/2) // it was seen idle once
		if d.gone() {
			t.Error("closed when it was first seen idle")
		}
		pass(leaveLook)
		if !d.gone() {
			t.Error("not closed when it was idle for a while")
		}
	})
}

func TestASendUnderWayIsEndedAndLeavesNothing(t *testing.T) {
	for name, op := range map[string]uint16{"data that waits for room": 5, "a REQUEST that begins a connection": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{}, Peer{5, 5})
				stack := &slowStack{withdrawn: make(chan struct{})}
				go func() {
					defer close(r.ended)
					ctx, cancel := context.WithCancel(context.Background())
					r.stop = cancel
					r.s.Run(ctx, stack)
				}()
				synctest.Wait()
				d, _ := r.device(5)
				d.in <- parcel{h: vhost.Header{Src: 5000, Dst: 80, Type: 1, Op: op}}
				synctest.Wait()
				r.end() // hangs if the Send is not ended
				if stack.open {
					t.Error("a connection is left that has no instance")
				}
			})
		})
	}
}

// slowStack is a Stack whose Send ends only with the first Withdraw, and then has
// begun a connection.
type slowStack struct {
	fakeStack
	withdrawn chan struct{}
	once      sync.Once
	mu        sync.Mutex
	open      bool
}

func (s *slowStack) Send(uint32, mux.Relay, mux.Packet, []byte) error {
	<-s.withdrawn
	time.Sleep(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = true
	return nil
}

func (s *slowStack) Withdraw(uint32, mux.Relay) {
	s.once.Do(func() { close(s.withdrawn) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = false
}

func TestAPeerThatComesBackKeepsItsInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}).run()
		defer r.end()
		d, _ := r.device(5)
		r.stack.setOpen(1)
		for range 3 {
			r.s.SetPeers(nil)
			pass(leaveTime - time.Second)
			r.s.SetPeers([]Peer{{5, 5}})
			pass(time.Second)
		}
		r.stack.setOpen(0)
		pass(time.Minute)
		if d.gone() || r.tried() != 1 {
			t.Error("the instance was closed although its peer came back in time")
		}
	})
}

func TestAnInstanceIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}).run()
		defer r.end()
		pass(steadyTime)
		_, i := r.device(5)
		i.Lost()
		synctest.Wait()
		if _, again := r.device(5); again == i || r.s.Relay(5) != again {
			t.Fatal("not made again at once")
		}
		// A peer that breaks its link again and again.
		start, before := time.Now(), r.tried()
		for time.Since(start) < time.Minute {
			if _, ok := r.s.Relay(5).(*instance); ok {
				_, i := r.device(5)
				i.Lost()
			}
			pass(time.Millisecond)
		}
		if n := r.tried() - before; n < 12 || n > 25 {
			t.Errorf("made again %d times a minute, want about one every 5 s and a few more", n)
		}
		if n := r.logged("level=WARN"); n != 0 {
			t.Errorf("%d log lines of what the link has told already", n)
		}
		pass(time.Minute)
		_, i = r.device(5)
		i.Lost()
		synctest.Wait()
		if _, again := r.device(5); again == i {
			t.Error("not made again at once after it was quiet for a minute")
		}
	})
}

func TestTheFirstPauseIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}).run()
		defer r.end()
		_, i := r.device(5)
		i.Lost()
		pass(minReopen - time.Millisecond)
		if len(r.live()) != 0 {
			t.Error("made again without a pause, although it was lost at once")
		}
		pass(time.Millisecond)
		if len(r.live()) != 1 {
			t.Error("not made again")
		}
	})
}

func TestAnOldInstancesEndIsNotTheNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}).run()
		defer r.end()
		pass(steadyTime)
		_, old := r.device(5)
		old.Lost()
		synctest.Wait()
		old.Lost()
		old.fail(errStalled)
		pass(time.Second)
		if r.tried() != 2 {
			t.Errorf("opened %d times, want 2", r.tried())
		}
	})
}

func TestADeviceThatBreaksIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}).run()
		defer r.end()
		d, _ := r.device(5)
		d.mu.Lock()
		d.end <- struct{}{} // Receive returns an error
		d.mu.Unlock()
		pass(minReopen)
		if !d.gone() || len(r.live()) != 1 {
			t.Error("not made again")
		}
		if r.logged("device closed") != 1 || r.logged("cid=5") != 1 {
			t.Errorf("the log does not say once which instance failed, and why:\n%s", r.log)
		}
	})
}

func TestACIDThatCannotBeHadIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}, Peer{6, 6})
		busy := fmt.Errorf("set CID: %w", syscall.EADDRINUSE)
		r.refuse = func(cid uint32) error {
			if cid == 5 {
				return busy
			}
			return nil
		}
		r.run()
		defer r.end()
		if got := r.live(); !slices.Equal(got, []uint32{6}) {
			t.Errorf("instances of %v, want 6: it has nothing to do with 5", got)
		}
		before := r.tried()
		pass(10 * time.Minute)
		if n := r.tried() - before; n < 10 || n > 16 {
			t.Errorf("tried %d times in 10 minutes, want about once a minute and a few more", n)
		}
		if n := r.logged("address already in use"); n != 1 {
			t.Errorf("logged %d times, want once", n)
		}
		if is := r.s.Status().Instances[0]; is.State != "waiting" || !strings.Contains(is.Why, "in use") {
			t.Errorf("status: %+v", is)
		}
		r.setRefuse(nil)
		pass(time.Minute)
		if got := r.live(); !slices.Equal(got, []uint32{5, 6}) {
			t.Errorf("instances of %v, want both", got)
		}
		if is := r.s.Status().Instances[0]; is.State != "open" || is.Why != "" || is.Since.IsZero() {
			t.Errorf("status: %+v", is)
		}
	})
}

func TestWithoutADevice(t *testing.T) {
	for name, err := range map[string]error{
		"no module":     fmt.Errorf("%w: no such file", vhost.ErrUnavailable),
		"no permission": fmt.Errorf("open: %w", fs.ErrPermission),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				peers := []Peer{{5, 5}, {6, 6}, {8, 8}}
				r := newRig(t, Config{}, peers...)
				r.refuse = func(uint32) error { return err }
				r.run()
				defer r.end()
				if st := r.s.Status(); st.On || st.Why != err.Error() {
					t.Errorf("status on %v, why %q", st.On, st.Why)
				}
				before := r.tried()
				pass(10*time.Minute + time.Second)
				if n := r.tried() - before; n != 10 {
					t.Errorf("looked %d times in 10 minutes, want once a minute", n)
				}
				if n := r.logged("level=WARN"); n != 1 {
					t.Errorf("%d log lines, want one for all peers and tries", n)
				}
				before = r.tried()
				r.s.SetPeers(peers)
				synctest.Wait()
				if n := r.tried() - before; n != 1 {
					t.Errorf("looked %d times at SetPeers, want once", n)
				}
				r.setRefuse(nil)
				r.s.SetPeers(peers)
				synctest.Wait()
				if len(r.live()) != 3 || !r.s.Status().On {
					t.Errorf("the device is there now: instances of %v", r.live())
				}
			})
		})
	}
}

func TestAtMostSoManyInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Max: 3}, Peer{9, 9}, Peer{5, 5}, Peer{8, 8}, Peer{6, 6}, Peer{7, 7}).run()
		defer r.end()
		check := func(live, out []uint32) {
			t.Helper()
			if got := r.live(); !slices.Equal(got, live) {
				t.Errorf("instances of %v, want %v", got, live)
			}
			if got := r.s.Status().LeftOut; !slices.Equal(got, out) {
				t.Errorf("left out %v, want %v", got, out)
			}
		}
		check([]uint32{5, 8, 9}, []uint32{6, 7})
		r.s.SetPeers([]Peer{{1000, 1000}, {7, 7}, {6, 6}, {8, 8}, {5, 5}, {9, 9}})
		pass(time.Second)
		check([]uint32{5, 8, 9}, []uint32{1000, 7, 6}) // who is there stays
		r.s.SetPeers([]Peer{{1000, 1000}, {7, 7}, {6, 6}, {9, 9}})
		pass(time.Second)
		check([]uint32{7, 9, 1000}, []uint32{6}) // by the order
		if n := r.logged("too many peers"); n != 1 {
			t.Errorf("logged %d times, want once", n)
		}
		r.s.SetPeers([]Peer{{9, 9}})
		pass(time.Second)
		check([]uint32{9}, nil)
	})
}

func TestAPeerThatIsNamedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Max: 2}, Peer{5, 5}, Peer{5, 6}, Peer{6, 6}, Peer{7, 7}, Peer{7, 7}).run()
		defer r.end()
		if _, i := r.device(5); i.peer.Domain != 5 {
			t.Errorf("CID 5 is domain %d, want the first that was named", i.peer.Domain)
		}
		if got := r.live(); !slices.Equal(got, []uint32{5, 6}) {
			t.Errorf("instances of %v, want 5 and 6", got)
		}
		if got := r.s.Status().LeftOut; !slices.Equal(got, []uint32{7}) {
			t.Errorf("left out %v, want 7 once", got)
		}
		pass(time.Minute)
		if r.tried() != 2 {
			t.Errorf("opened %d times, want 2", r.tried())
		}
	})
}

func TestInstancesAreClosedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var peers []Peer
		for id := range xen.DomID(maxWorkers) {
			peers = append(peers, Peer{uint32(10 + id), 10 + id})
		}
		r := newRig(t, Config{}, peers...)
		r.slow = time.Second
		r.run()
		start := time.Now()
		r.end()
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %v, want as long as one", took)
		}
	})
}

func TestAWorkerThatIsBusyKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5})
		r.slow = time.Hour
		r.run()
		defer r.end()
		_, i := r.device(5)
		i.Lost() // closing takes an hour
		synctest.Wait()
		start := time.Now()
		r.s.SetPeers([]Peer{{5, 5}, {6, 6}})
		synctest.Wait()
		if r.s.Relay(6) == nil {
			t.Error("another peer has no instance while one is closed")
		}
		if r.s.Relay(5) != nil {
			t.Error("an instance that is being closed is given out")
		}
		r.s.Status()
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

func TestCloseThatFailsIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5})
		r.s.cfg.Open = func(uint32) (Device, error) { return failingClose{newFakeDevice(5)}, nil }
		r.run()
		r.end()
		if r.logged("cannot be closed") != 1 {
			t.Errorf("the log does not say it:\n%s", r.log)
		}
	})
}

type failingClose struct{ *fakeDevice }

func (d failingClose) Close() error {
	d.fakeDevice.Close()
	return errors.New("cannot be closed")
}

func TestStatusCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5})
		if st := r.s.Status(); st.On || st.Why == "" {
			t.Errorf("before Run: %+v", st)
		}
		r.run()
		defer r.end()
		d, i := r.device(5)
		d.in <- parcel{h: vhost.Header{Src: 5000, Dst: 80, Type: 1, Op: 1}}
		d.in <- parcel{h: vhost.Header{Src: 5000, Dst: 80, Type: 1, Op: 5}, data: "12345"}
		d.in <- parcel{h: vhost.Header{Src: 5000, Dst: 1, Type: 1, Op: 1}}
		i.deliver(&fakeSession{}, data(1), []byte("12"), []byte("3"))
		synctest.Wait()
		want := InstanceStatus{
			CID: 5, Domain: 5, State: "open", Since: time.Now(),
			FromKernel: Traffic{2, 5}, ToKernel: Traffic{1, 3}, Conns: 1, Refused: 1,
		}
		if got := r.s.Status().Instances[0]; got != want {
			t.Errorf("status\n%+v, want\n%+v", got, want)
		}
	})
}

func TestSetPeersWithNothingNewWakesNobody(t *testing.T) {
	s := New(Config{})
	s.SetPeers([]Peer{{5, 5}})
	<-s.wake
	s.SetPeers([]Peer{{5, 5}})
	if len(s.wake) != 0 {
		t.Error("Run was woken for nothing")
	}
}

// To a program RST is the end of the file. Where all connections with a domain end, they
// end as lost.
func TestTheEndOfAllConnectionsIsALoss(t *testing.T) {
	rst := func(reason mux.Reason) mux.Packet {
		return mux.Packet{Local: 80, Remote: 5000, Type: mux.TypeStream, Op: mux.OpReset, Flags: uint32(reason)}
	}
	for _, tt := range []struct {
		name string
		gone bool
		end  func(*instance)
		lost bool
	}{
		{"a rule was taken away", false, func(i *instance) { i.Reset(rst(mux.ReasonRevoked)) }, false},
		{"all rules were, or the domain is gone", true, func(i *instance) { i.Reset(rst(mux.ReasonRevoked)) }, true},
		{"a connection ends for another reason", true, func(i *instance) { i.Reset(rst(mux.ReasonProtocol)) }, false},
		{"the domain's daemon ends", false, func(i *instance) { i.deliver(&fakeSession{}, rst(mux.ReasonShuttingDown), nil, nil) }, true},
		{"this domain's daemon ends", false, func(i *instance) { i.Reset(rst(mux.ReasonShuttingDown)) }, true},
		{"the other end resets", true, func(i *instance) { i.deliver(&fakeSession{}, rst(mux.ReasonNone), nil, nil) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{Gone: func(xen.DomID) bool { return tt.gone }}, Peer{5, 5}).run()
				defer r.end()
				d, i := r.device(5)
				tt.end(i)
				synctest.Wait()
				if lost := i.failure() != nil; lost != tt.lost {
					t.Errorf("lost %v, want %v (%v)", lost, tt.lost, i.failure())
				}
				if resets := len(d.taken()); (resets == 0) != tt.lost {
					t.Errorf("%d RSTs for the kernel", resets)
				}
			})
		})
	}
}
