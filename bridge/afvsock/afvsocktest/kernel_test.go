package afvsocktest_test

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"xvsock/bridge/afvsock/afvsocktest"
	"xvsock/bridge/vhost"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire carries packets from one device to the other until either is closed.
func wire(from, to *afvsocktest.Device) {
	for {
		h, payload, err := from.Receive()
		if err != nil {
			return
		}
		for !to.Send(h, payload, nil) {
			<-to.Room()
		}
	}
}

// pair is two kernels in which the other has CID 5, and CID 6.
func pair(t *testing.T) (a, b *afvsocktest.Kernel, da, db *afvsocktest.Device) {
	t.Helper()
	a, b = afvsocktest.New(), afvsocktest.New()
	da, err := a.Open(6)
	if err != nil {
		t.Fatal(err)
	}
	if db, err = b.Open(5); err != nil {
		t.Fatal(err)
	}
	go wire(da, db)
	go wire(db, da)
	return a, b, da, db
}

func connect(t *testing.T, a, b *afvsocktest.Kernel) (x, y *afvsocktest.Conn) {
	t.Helper()
	l, err := b.Listen(80, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if x, err = a.Dial(t.Context(), 6, 80); err != nil {
		t.Fatal(err)
	}
	if y, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return x, y
}

func TestWhatSocketsSee(t *testing.T) {
	tests := []struct {
		name string
		run  func(t *testing.T, a, b *afvsocktest.Kernel, da, db *afvsocktest.Device)
	}{
		{"a CID of nobody is ENODEV", func(t *testing.T, a, _ *afvsocktest.Kernel, _, _ *afvsocktest.Device) {
			if _, err := a.Dial(t.Context(), 7, 80); err != syscall.ENODEV {
				t.Errorf("got %v", err)
			}
		}},
		{"a port of nobody is ECONNRESET", func(t *testing.T, a, _ *afvsocktest.Kernel, _, _ *afvsocktest.Device) {
			if _, err := a.Dial(t.Context(), 6, 80); err != syscall.ECONNRESET {
				t.Errorf("got %v", err)
			}
		}},
		{"no answer is ETIMEDOUT after 2 s, and a late one is reset", func(t *testing.T, a, b *afvsocktest.Kernel, _, _ *afvsocktest.Device) {
			l, _ := b.Listen(80, 1)
			defer l.Close()
			b.Stop(5, true)
			start := time.Now()
			if _, err := a.Dial(t.Context(), 6, 80); err != syscall.ETIMEDOUT || time.Since(start) != 2*time.Second {
				t.Errorf("got %v after %v", err, time.Since(start))
			}
			b.Stop(5, false)
			c, _ := l.Accept()
			if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("the half-open end read %d, %v", n, err)
			}
		}},
		{"a full backlog refuses", func(t *testing.T, a, b *afvsocktest.Kernel, _, _ *afvsocktest.Device) {
			l, _ := b.Listen(80, 0)
			defer l.Close()
			if _, err := a.Dial(t.Context(), 6, 80); err != nil {
				t.Error(err)
			}
			if _, err := a.Dial(t.Context(), 6, 80); err != syscall.ECONNRESET {
				t.Errorf("got %v", err)
			}
		}},
		{"a CID has one instance", func(t *testing.T, a, _ *afvsocktest.Kernel, _, _ *afvsocktest.Device) {
			if _, err := a.Open(6); !errors.Is(err, vhost.ErrInUse) {
				t.Errorf("got %v", err)
			}
		}},
		{"a sender waits at 256 KiB", func(t *testing.T, a, b *afvsocktest.Kernel, _, _ *afvsocktest.Device) {
			x, y := connect(t, a, b)
			go x.Write(make([]byte, 300<<10))
			synctest.Wait()
			p := make([]byte, 400<<10)
			if n, _ := y.Read(p); n != 256<<10 {
				t.Errorf("read %d bytes", n)
			}
			synctest.Wait()
			if n, _ := y.Read(p); n != 44<<10 {
				t.Errorf("then read %d bytes", n)
			}
		}},
		{"half-close", func(t *testing.T, a, b *afvsocktest.Kernel, _, _ *afvsocktest.Device) {
			x, y := connect(t, a, b)
			x.CloseWrite()
			if _, err := y.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("read: %v", err)
			}
			if _, err := x.Write([]byte("x")); err != syscall.EPIPE {
				t.Errorf("write after shutdown: %v", err)
			}
			y.Write([]byte("y"))
			if n, err := x.Read(make([]byte, 1)); n != 1 {
				t.Errorf("read: %v", err)
			}
		}},
		{"close reaches both, and leaves no socket", func(t *testing.T, a, b *afvsocktest.Kernel, _, _ *afvsocktest.Device) {
			x, y := connect(t, a, b)
			x.Close()
			synctest.Wait()
			if _, err := y.Write([]byte("x")); err != syscall.EPIPE {
				t.Errorf("write: %v", err)
			}
			y.Close()
			synctest.Wait()
			if a.Sockets()+b.Sockets() != 0 {
				t.Errorf("%d and %d sockets left", a.Sockets(), b.Sockets())
			}
		}},
		{"a close that is not answered ends after 8 s", func(t *testing.T, a, b *afvsocktest.Kernel, _, _ *afvsocktest.Device) {
			x, _ := connect(t, a, b)
			b.Stop(5, true)
			x.Close()
			time.Sleep(7 * time.Second)
			if a.Sockets() != 1 {
				t.Error("it is over already")
			}
			time.Sleep(2 * time.Second)
			if a.Sockets() != 0 {
				t.Error("the socket is still there")
			}
		}},
		{"the end of an instance is ECONNRESET", func(t *testing.T, a, b *afvsocktest.Kernel, da, _ *afvsocktest.Device) {
			x, _ := connect(t, a, b)
			da.Close()
			if _, err := x.Read(make([]byte, 1)); err != syscall.ECONNRESET {
				t.Errorf("read: %v", err)
			}
			if _, _, err := da.Receive(); err != os.ErrClosed {
				t.Errorf("Receive: %v", err)
			}
		}},
		{"a connect is not woken by the end of its instance", func(t *testing.T, a, b *afvsocktest.Kernel, da, _ *afvsocktest.Device) {
			b.Stop(5, true)
			time.AfterFunc(time.Second, func() { da.Close() })
			if _, err := a.Dial(t.Context(), 6, 80); err != syscall.ETIMEDOUT {
				t.Errorf("got %v", err)
			}
		}},
		{"no packets are taken while too many answers wait", func(t *testing.T, _, b *afvsocktest.Kernel, _, _ *afvsocktest.Device) {
			d, _ := b.Open(9)
			n := 0
			for ; n < 1000 && d.Send(vhost.Header{Src: 1000 + uint32(n), Dst: 80, Type: 1, Op: 1}, nil, nil); n++ {
			}
			if n != 256 {
				t.Errorf("%d taken, want as many as answers and slots", n)
			}
			d.Receive()
			<-d.Room()
		}},
		{"a connect that is given up", func(t *testing.T, a, b *afvsocktest.Kernel, _, _ *afvsocktest.Device) {
			b.Stop(5, true)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := a.Dial(ctx, 6, 80); err != syscall.EINTR {
				t.Errorf("got %v", err)
			}
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, da, db := pair(t)
				tc.run(t, a, b, da, db)
				da.Close()
				db.Close()
			})
		})
	}
}
