package afvsock

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/bridge/vhost"
	"xvsock/vsock"
)

// request is a REQUEST of the kernel.
func request(src, dst uint32) parcel {
	return parcel{h: vhost.Header{Src: src, Dst: dst, Type: 1, Op: 1}}
}

// lateRig is a rig whose stack has a link only while up says so.
func lateRig(t *testing.T, reach func(ctx context.Context, addr vsock.Addr) error) (*rig, *atomic.Bool) {
	r := newRig(t, Config{}, Peer{5, 5})
	up := new(atomic.Bool)
	r.stack.send = func(sentFrame) error {
		if !up.Load() {
			return vsock.ErrNoLink
		}
		return nil
	}
	r.stack.reach = reach
	return r.run(), up
}

func TestRequestsWaitForALinkTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := make(chan struct{})
		r, up := lateRig(t, func(context.Context, vsock.Addr) error { <-made; return nil })
		defer r.end()
		d, _ := r.device(5)
		for n := range uint32(maxLate) {
			d.in <- request(5000+n, 80)
		}
		d.in <- request(4000, 80) // one too many
		synctest.Wait()
		if got := order(d.taken()); len(got) != 1 || got[0] != "RST 80" {
			t.Fatalf("the kernel got %v, want an RST for the one too many", got)
		}
		if n := r.s.Status().Instances[0].WaitsForLink; n != maxLate {
			t.Errorf("%d wait, want %d", n, maxLate)
		}
		up.Store(true)
		close(made)
		synctest.Wait()
		got := r.stack.got()
		if len(got) != maxLate || got[0].p.Local != 5000 || got[maxLate-1].p.Local != 5000+maxLate-1 {
			t.Errorf("%d requests went out, or not in their order", len(got))
		}
		if n := len(r.stack.reached); n != 1 {
			t.Errorf("the link was asked for %d times, want once", n)
		}
		if n := r.s.Status().Instances[0].WaitsForLink; n != 0 {
			t.Errorf("%d still wait", n)
		}
		d.in <- request(6000, 80)
		up.Store(false)
		d.in <- request(6001, 80)
		synctest.Wait()
		if n := len(r.stack.reached); n < 2 {
			t.Error("a later REQUEST did not have a link made")
		}
	})
}

func TestOtherPacketsDoNotWaitForALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := make(chan struct{})
		r, _ := lateRig(t, func(ctx context.Context, _ vsock.Addr) error {
			select {
			case <-made:
			case <-ctx.Done():
			}
			return ctx.Err()
		})
		defer r.end()
		d, i := r.device(5)
		d.in <- request(5000, 80)
		d.in <- parcel{h: vhost.Header{Src: 5001, Dst: 80, Type: 1, Op: 5}}
		synctest.Wait()
		if got := order(d.taken()); len(got) != 1 {
			t.Errorf("the kernel got %v, want RST for the data", got)
		}
		if !i.deliver(&fakeSession{}, data(1), nil, nil) {
			t.Error("the other way waits")
		}
	})
}

func TestARefusalIsForItsPortAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan struct{})
		r, up := lateRig(t, func(_ context.Context, a vsock.Addr) error {
			<-asked
			if a.Port == 80 {
				return fmt.Errorf("dial: %w", syscall.EACCES)
			}
			return nil
		})
		defer r.end()
		d, _ := r.device(5)
		d.in <- request(5000, 80)
		d.in <- request(5001, 81)
		d.in <- request(5002, 80)
		synctest.Wait()
		up.Store(true)
		close(asked)
		synctest.Wait()
		for _, p := range d.taken() {
			if p.h.Op != 3 || p.h.Src != 80 {
				t.Errorf("the kernel got %+v, want RSTs from port 80", p.h)
			}
		}
		if got := r.stack.got(); len(got) != 1 || got[0].p.Remote != 81 {
			t.Errorf("to the link: %+v, want the REQUEST to port 81", got)
		}
		if n := r.s.Status().Instances[0].Refused; n != 2 {
			t.Errorf("%d refused, want 2", n)
		}
	})
}

func TestARequestWaitsTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := lateRig(t, func(ctx context.Context, _ vsock.Addr) error { <-ctx.Done(); return ctx.Err() })
		defer r.end()
		d, _ := r.device(5)
		d.in <- request(5000, 80)
		pass(time.Second)
		d.in <- request(5001, 81)
		pass(lateTime - time.Second - time.Millisecond)
		if got := d.taken(); len(got) != 0 {
			t.Fatalf("the kernel got %v too early", got)
		}
		pass(time.Millisecond)
		if got := order(d.taken()); len(got) != 1 || got[0] != "RST 80" {
			t.Fatalf("after 10 s the kernel got %v", got)
		}
		pass(time.Second)
		if got := order(d.taken()); len(got) != 1 || got[0] != "RST 81" {
			t.Fatalf("a second later the kernel got %v", got)
		}
	})
}

func TestALinkThatIsLostAtOnceIsMadeAgainWithoutSpinning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := lateRig(t, nil) // Reach succeeds, and there is no link
		defer r.end()
		d, _ := r.device(5)
		d.in <- request(5000, 80)
		pass(lateTime + time.Second)
		if n := len(r.stack.reached); n < 50 || n > 110 {
			t.Errorf("asked for a link %d times in 10 s, want about 100", n)
		}
		if got := order(d.taken()); len(got) != 1 || got[0] != "RST 80" {
			t.Errorf("the kernel got %v, want RST", got)
		}
	})
}

func TestWhatTheKernelGivesUpIsNotSentLater(t *testing.T) {
	for name, p := range map[string]parcel{
		"RST":               {h: vhost.Header{Src: 5000, Dst: 80, Type: 1, Op: 3}},
		"begun anew":        request(5000, 80),
		"another operation": {h: vhost.Header{Src: 5000, Dst: 80, Type: 1, Op: 6}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				made := make(chan struct{})
				r, up := lateRig(t, func(context.Context, vsock.Addr) error { <-made; return nil })
				defer r.end()
				d, _ := r.device(5)
				d.in <- request(5000, 80)
				d.in <- request(5000, 81) // another connection
				d.in <- p
				synctest.Wait()
				up.Store(true)
				close(made)
				synctest.Wait()
				n := 0
				for _, f := range r.stack.got() {
					if f.p.Remote == 80 && f.p.Op == 1 {
						n++
					}
				}
				if want := map[bool]int{true: 1}[p.h.Op == 1]; n != want {
					t.Errorf("%d REQUESTs sent, want %d", n, want)
				}
			})
		})
	}
}

func TestAnInstanceThatEndsWaitsForNoLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := lateRig(t, func(ctx context.Context, _ vsock.Addr) error { <-ctx.Done(); return ctx.Err() })
		d, _ := r.device(5)
		d.in <- request(5000, 80)
		synctest.Wait()
		start := time.Now()
		r.end()
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}
