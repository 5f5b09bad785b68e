package afvsock

import (
	"testing"
	"testing/synctest"
	"time"

	"xvsock/bridge/vhost"
	"xvsock/mux"
)

// busy keeps all workers at work for a while, as after a resume, when all links are lost:
// what has failed is not closed yet.
func (r *rig) busy(d time.Duration) {
	for range maxWorkers {
		r.s.work(func() { time.Sleep(d) })
	}
	synctest.Wait()
}

// RST is an orderly end to a kernel's socket. Between the loss and the end of the
// instance none is sent for a connection that there was.
func TestWhatWasLostIsNotEndedInOrderFirst(t *testing.T) {
	for _, why := range []error{errLost, errGone, errLeaves} {
		t.Run(why.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{}, Peer{5, 5}).run()
				defer r.end()
				d, i := r.device(5)
				r.busy(20 * time.Millisecond)
				r.stack.send = func(sentFrame) error { return &mux.ResetError{} } // no tuple any more
				i.fail(why)
				d.in <- parcel{h: vhost.Header{Src: 80, Dst: 5000, Type: 1, Op: mux.OpCreditUpdate}}
				i.Reset(data(1))
				ses := &fakeSession{}
				for _, op := range []uint16{mux.OpReset, mux.OpShutdown, mux.OpRequest} {
					if p := (mux.Packet{Local: 80, Remote: 1, Type: 1, Op: op}); !i.deliver(ses, p, nil, nil) {
						t.Error("the link would stand still")
					}
				}
				synctest.Wait()
				if got := d.taken(); len(got) != 0 {
					t.Errorf("the kernel got %+v before its instance ends", got)
				}
				if _, n := ses.counts(); n == 0 {
					t.Error("a session goes on with an instance that has failed")
				}
				d.in <- parcel{h: vhost.Header{Src: 81, Dst: 5000, Type: 1, Op: mux.OpRequest}}
				synctest.Wait()
				if got := d.taken(); len(got) != 1 || got[0] != rst(5000, 81) {
					t.Errorf("who connects is told %+v, want RST", got)
				}
				pass(time.Second)
				if !d.gone() {
					t.Error("the instance is still open")
				}
			})
		})
	}
}

// leaky counts the Receives that have not ended with an error: the device keeps its
// memory for them.
type leaky struct {
	*fakeDevice
	over chan struct{} // closed when Receive returned an error
}

func (d leaky) Receive() (vhost.Header, []byte, error) {
	h, b, err := d.fakeDevice.Receive()
	if err != nil {
		select {
		case <-d.over:
		default:
			close(d.over)
		}
	}
	return h, b, err
}

// A device has Receive return an error before it gives its memory back.
func TestReceiveIsCalledUntilItsError(t *testing.T) {
	for name, send := range map[string]func(i **instance) error{
		"closed while a packet is passed on": func(i **instance) error { (*i).cancel(); return nil },
		"a bug while a packet is passed on":  func(**instance) error { panic("oops") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var i *instance
				s := New(Config{})
				s.stack = &fakeStack{send: func(sentFrame) error { return send(&i) }}
				d := leaky{newFakeDevice(7), make(chan struct{})}
				i = s.newInstance(Peer{7, 5}, d, new(tally))
				for range 2 { // the second one is there when it is to end
					d.in <- parcel{h: vhost.Header{Src: 80, Dst: 5000, Type: 1, Op: mux.OpData}}
					synctest.Wait()
				}
				if err := i.close(); err != nil {
					t.Error(err)
				}
				select {
				case <-d.over:
				default:
					t.Error("Receive was not called until its error")
				}
			})
		})
	}
}

// After a resume an id means another domain: who has it is not the one whose instance
// this was.
func TestNothingComesInUntilItIsKnownWhoItIsFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peers := []Peer{{5, 5}, {6, 6}}
		r := newRig(t, Config{}, peers...).run()
		defer r.end()
		if r.s.Relay(5) == nil || r.s.Relay(6) == nil {
			t.Fatal("no instance")
		}
		r.s.Forget()
		r.s.mu.Lock()
		r.s.publish() // what a worker does when it is done
		r.s.mu.Unlock()
		if r.s.Relay(5) != nil || r.s.Relay(6) != nil {
			t.Error("an instance takes connections of who has its peer's id now")
		}
		r.s.SetPeers(peers)
		if r.s.Relay(5) == nil || r.s.Relay(6) == nil {
			t.Error("known again, and there is no instance")
		}
	})
}

// known is a device that can say what the kernel is.
type known struct{ *fakeDevice }

func (known) Support() (vhost.Support, error) { return vhost.Support{LocalCID: 9, Guest: true}, nil }

func TestTheKernelIsDescribedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}, Peer{6, 6})
		r.s.cfg.Open = func(cid uint32) (Device, error) {
			d, err := r.open(cid)
			return known{d.(*fakeDevice)}, err
		}
		r.run()
		defer r.end()
		if n := r.logged("own CID 9 from a guest transport"); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}
