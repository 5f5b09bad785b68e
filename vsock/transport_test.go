package vsock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/link"
	"xvsock/mux"
	"xvsock/sim"
	"xvsock/vsock"
)

var _ mux.Transport = bareLink{}

// hold hands links to a test, which uses them until it closes done.
func hold(to chan<- *link.Link, done <-chan struct{}) link.Use {
	return func(_ context.Context, l *link.Link) error {
		to <- l
		<-done
		return l.Err()
	}
}

// wires are links of every kind, as two ends of which the test is the only user.
func wires(t *testing.T) map[string][2]*link.Link {
	t.Helper()
	dom0, guests := newHost(t, 1)
	backs, fronts := make(chan *link.Link, 1), make(chan *link.Link, 1)
	done := make(chan struct{})
	newNode(t, dom0, vsock.Config{}).backWith(guests[0].ID(), hold(backs, done))
	newNode(t, guests[0], vsock.Config{}).frontWith(hold(fronts, done))
	t.Cleanup(func() { close(done) }) // before the processes stop
	front, back := <-fronts, <-backs
	a, b, err := link.Loop(0, link.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return map[string][2]*link.Link{"frontend": {front, back}, "backend": {back, front}, "loop": {a, b}}
}

// push sends n bytes.
func push(t *testing.T, l *link.Link, n int) {
	t.Helper()
	if a, b := l.Reserve(n); len(a)+len(b) != n {
		t.Fatalf("no room for %d bytes", n)
	}
	if err := errors.Join(l.Commit(n), l.Flush()); err != nil {
		t.Fatal(err)
	}
}

// wait sleeps and looks, as package mux does.
func wait(l *link.Link, d time.Duration) error {
	if err := l.Sleep(d); err != nil {
		return err
	}
	return l.Look()
}

// waitsFor returns how long wait took.
func waitsFor(t *testing.T, l *link.Link, d time.Duration) time.Duration {
	t.Helper()
	begin := time.Now()
	if err := wait(l, d); err != nil {
		t.Fatal(err)
	}
	return time.Since(begin)
}

// settleDown uses up the events that a new link begins with.
func settleDown(t *testing.T, l *link.Link) {
	for waitsFor(t, l, time.Millisecond) < time.Millisecond {
	}
}

// What mux.Transport asks, of a link: the two packages do not know each other.
func TestALinkKeepsTheContractOfATransport(t *testing.T) {
	const ring = link.DefaultRingSize
	rules := []struct {
		name string
		test func(t *testing.T, own, other *link.Link)
	}{
		{"Wait lasts as long as it is told to", func(t *testing.T, own, _ *link.Link) {
			if took := waitsFor(t, own, time.Second); took != time.Second {
				t.Errorf("took %v", took)
			}
		}},
		{"Wake ends the current Wait and is kept for the next one", func(t *testing.T, own, _ *link.Link) {
			time.AfterFunc(time.Second, own.Wake)
			if took := waitsFor(t, own, 0); took != time.Second {
				t.Errorf("the current one took %v", took)
			}
			own.Wake()
			if took := waitsFor(t, own, 0); took != 0 {
				t.Errorf("the next one took %v", took)
			}
		}},
		{"Wait ends with bytes, of which Peek shows all and never waits", func(t *testing.T, own, other *link.Link) {
			if a, b, err := own.Peek(1); len(a)+len(b) != 0 || err != nil {
				t.Errorf("Peek of nothing shows %d bytes, %v", len(a)+len(b), err)
			}
			time.AfterFunc(time.Second, func() { push(t, other, 1000) })
			if took := waitsFor(t, own, 0); took != time.Second {
				t.Errorf("Wait took %v", took)
			}
			a, b, err := own.Peek(5000)
			if len(a)+len(b) != 1000 || err != nil {
				t.Errorf("Peek shows %d bytes of 1000, %v", len(a)+len(b), err)
			}
			own.Discard(1000)
		}},
		{"Reserve gives exactly what is asked, or nothing, and the last one counts", func(t *testing.T, own, other *link.Link) {
			for _, n := range []int{ring + 1, ring, 1, ring / 2} {
				want := n
				if n > ring {
					want = 0
				}
				if a, b := own.Reserve(n); len(a)+len(b) != want {
					t.Errorf("Reserve(%d) gives %d bytes", n, len(a)+len(b))
				}
			}
			if err := errors.Join(own.Commit(ring/2), own.Flush(), wait(other, 0)); err != nil {
				t.Fatal(err)
			}
			if a, b, err := other.Peek(ring); len(a)+len(b) != ring/2 || err != nil {
				t.Errorf("%d bytes arrived, %v", len(a)+len(b), err)
			}
		}},
		{"Sleep ends with the room that was wanted, and not with less", func(t *testing.T, own, other *link.Link) {
			push(t, own, ring)
			own.Want(2048)
			if err := errors.Join(own.Flush(), wait(other, 0)); err != nil {
				t.Fatal(err)
			}
			var reader sync.WaitGroup
			defer reader.Wait()
			reader.Go(func() {
				for range 2 {
					time.Sleep(time.Second)
					_, _, err := other.Peek(1024)
					other.Discard(1024)
					if err := errors.Join(err, other.Flush()); err != nil {
						t.Error(err)
					}
				}
			})
			// A side that copies gives room back with the first Peek, for all that it has copied.
			if took := waitsFor(t, own, 0); took != time.Second && took != 2*time.Second {
				t.Errorf("took %v", took)
			}
			if a, b := own.Reserve(2048); len(a)+len(b) != 2048 {
				t.Errorf("Reserve gives %d bytes", len(a)+len(b))
			}
		}},
		{"a frame is at most a quarter of the ring", func(t *testing.T, own, _ *link.Link) {
			if n := own.MaxPayload(); n != ring/4 {
				t.Errorf("MaxPayload is %d", n)
			}
		}},
		{"Fail ends a Sleep, and its first reason is what all return from then on", func(t *testing.T, own, other *link.Link) {
			first := errors.New("first")
			time.AfterFunc(time.Second, func() {
				bareLink{own}.Fail(first)
				bareLink{own}.Fail(errors.New("second"))
			})
			begin := time.Now()
			if err := wait(own, 0); !errors.Is(err, first) || time.Since(begin) != time.Second {
				t.Errorf("Wait returned %v after %v", err, time.Since(begin))
			}
			for range 50 { // what comes at the same time hides it no more
				own.Wake()
				push(t, other, 32)
				if err := wait(own, time.Second); !errors.Is(err, first) {
					t.Fatalf("Wait returns %v", err)
				}
			}
			if _, _, err := own.Peek(1); !errors.Is(err, first) {
				t.Errorf("Peek returns %v", err)
			}
			own.Reserve(32)
			if err := own.Commit(32); !errors.Is(err, first) {
				t.Errorf("Commit returns %v", err)
			}
		}},
	}
	for _, kind := range []string{"frontend", "backend", "loop"} {
		for _, r := range rules {
			t.Run(kind+": "+r.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ends := wires(t)[kind]
					settleDown(t, ends[0])
					settleDown(t, ends[1])
					r.test(t, ends[0], ends[1])
				})
			})
		}
	}
}

// A quiet link with open connections is probed by one header copy a second, and
// one without any costs nothing.
func TestAQuietLinkCostsOneCopyASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := pair(t, roomy)
		l := back.listen(7)
		time.Sleep(time.Minute)
		for _, c := range []struct {
			name string
			open bool
			want uint64
		}{{"without connections", false, 0}, {"with one", true, 60}} {
			if c.open {
				front.dial(0, 7)
				accept(t, l)
				time.Sleep(30 * time.Second)
			}
			for _, n := range []*node{back, front} {
				before := n.dom().Counts()
				time.Sleep(time.Minute)
				// CREDIT_REQUEST every 10 s, and its answer, add theirs.
				if got := n.dom().Counts().Minus(before); got.Copies < c.want || got.Copies > c.want*2 {
					t.Errorf("%s domain %v made %d copies in a minute, want %d", c.name, n.dom().ID(), got.Copies, c.want)
				}
			}
		}
	})
}

// A writer notifies the other side without a lock of the session. The link must
// not be closed below it. Real time: who waits here waits for a lock.
func TestServeWaitsForANotifyUnderWay(t *testing.T) {
	back, front := pair(t, roomy)
	l := back.listen(7)
	a := front.dial(0, 7)
	accept(t, l)
	stuck, caught := make(chan struct{}), make(chan struct{})
	var first, over atomic.Bool
	front.dom().Host().Hook(func(c *sim.Call) error {
		switch {
		case c.Process != front.proc:
		case c.Op == sim.OpNotify && !first.Swap(true):
			close(caught)
			<-stuck
			over.Store(true)
		case (c.Op == sim.OpRevoke || c.Op == sim.OpClose) && !over.Load():
			t.Errorf("%v during a notify", c.Op)
		}
		return nil
	})
	go fmt.Fprint(a, "wakes the other side")
	<-caught
	(<-front.links).End(link.Lost, nil)
	time.Sleep(50 * time.Millisecond) // in which the link would be closed
	close(stuck)
	front.up(1)
	a.Close()
}
