package mux

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"xvsock/mux/muxtest"
)

func TestDialErrors(t *testing.T) {
	for reason, want := range map[Reason]error{
		ReasonNone:         syscall.ECONNREFUSED,
		ReasonRefused:      syscall.ECONNREFUSED,
		ReasonDenied:       syscall.EACCES,
		ReasonUnreachable:  syscall.EHOSTUNREACH,
		ReasonBudget:       syscall.ENOBUFS,
		ReasonShuttingDown: syscall.ECONNREFUSED,
		ReasonRevoked:      syscall.EACCES,
		ReasonProtocol:     syscall.EPROTO,
	} {
		t.Run(reason.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v := newVictim(t, Config{})
				defer v.stop()
				got := make(chan error)
				go func() {
					_, err := v.s.Dial(t.Context(), 40000, 7)
					got <- err
				}()
				v.expect(opRequest)
				v.send(header{src: 7, dst: 40000, op: opReset, flags: uint32(reason)}, nil)
				if err := <-got; !errors.Is(err, want) {
					t.Errorf("Dial() = %v, want %v", err, want)
				}
				v.expect()
			})
		})
	}
}

func TestDialIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(64<<10, Config{MaxConns: 3, Budget: NewBudget(3*startWindow, nil)})
		p.connect(t, 5000)
		for _, test := range []struct {
			name          string
			local, remote uint32
			want          error
		}{
			{"a taken tuple", 5000, 7, syscall.EADDRINUSE},
			{"local port 0", 0, 7, syscall.EADDRNOTAVAIL},
			{"remote port any", 5001, portAny, syscall.EADDRNOTAVAIL},
			{"nobody listens", 5001, 2000, syscall.ECONNREFUSED},
		} {
			if _, err := p.a.Dial(t.Context(), test.local, test.remote); !errors.Is(err, test.want) {
				t.Errorf("%s: Dial() = %v, want %v", test.name, err, test.want)
			}
		}
		p.connect(t, 5001)
		p.connect(t, 5002)
		if _, err := p.a.Dial(t.Context(), 5003, 7); !errors.Is(err, syscall.ENOBUFS) {
			t.Errorf("Dial() over the budget = %v, want ENOBUFS", err)
		}
		p.stop()
		if _, err := p.a.Dial(t.Context(), 5004, 7); !errors.Is(err, ErrSessionClosed) {
			t.Errorf("Dial() after Close = %v, want ErrSessionClosed", err)
		}
	})
}

func TestHalfClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(64<<10, Config{})
		defer p.stop()
		a, b := p.connect(t, 5000)
		if _, err := a.Write([]byte("question")); err != nil {
			t.Fatal(err)
		}
		if err := a.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("Write() after CloseWrite = %v, want EPIPE", err)
		}
		if q, err := io.ReadAll(b); string(q) != "question" || err != nil {
			t.Errorf("ReadAll() = %q, %v", q, err)
		}
		if _, err := b.Write([]byte("answer")); err != nil {
			t.Fatal(err)
		}
		b.Close()
		if q, err := io.ReadAll(a); string(q) != "answer" || err != nil {
			t.Errorf("ReadAll() = %q, %v", q, err)
		}
		p.settle()
		if n := p.a.Stats().Open + p.b.Stats().Open; n != 0 {
			t.Errorf("%d tuples left after both sides read the end, want 0", n)
		}
		a.Close()
	})
}

func TestCloseRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(64<<10, Config{})
		defer p.stop()
		a, b := p.connect(t, 5000)
		defer a.Close()
		defer b.Close()
		if _, err := b.Write([]byte("unread")); err != nil {
			t.Fatal(err)
		}
		p.settle()
		_ = a.CloseRead()
		if n, err := a.Read(make([]byte, 9)); n != 0 || err != io.EOF {
			t.Errorf("Read() after CloseRead = %d, %v, want io.EOF", n, err)
		}
		p.settle()
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("Write() to it = %v, want EPIPE", err)
		}
		if _, err := a.Write([]byte("on")); err != nil {
			t.Errorf("Write() the other way = %v", err)
		}
		if _, err := io.ReadFull(b, make([]byte, 2)); err != nil {
			t.Errorf("Read() the other way = %v", err)
		}
	})
}

func TestCloseUnblocks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(64<<10, Config{})
		defer p.stop()
		a, b := p.connect(t, 5000)
		defer b.Close()
		errs := make(chan error, 2)
		go func() {
			_, err := a.Read(make([]byte, 1))
			errs <- err
		}()
		go func() {
			_, err := a.Write(make([]byte, 1<<20))
			errs <- err
		}()
		p.settle()
		a.Close()
		for range 2 {
			if err := <-errs; !errors.Is(err, net.ErrClosed) {
				t.Errorf("unblocked with %v, want net.ErrClosed", err)
			}
		}
		for name, err := range map[string]error{
			"Close":            a.Close(),
			"CloseWrite":       a.CloseWrite(),
			"SetDeadline":      a.SetDeadline(time.Time{}),
			"SetWriteDeadline": a.SetWriteDeadline(time.Time{}),
		} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s after Close = %v, want net.ErrClosed", name, err)
			}
		}
	})
}

// What was received before a reset is read before it.
func TestResetAfterData(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := NewBudget(DefaultBudget, nil)
		v := newVictim(t, Config{Budget: b})
		defer v.stop()
		c := v.connect(1000)
		v.send(in(opData), []byte("before"))
		h := in(opReset)
		h.flags = uint32(ReasonRevoked)
		v.send(h, nil)
		if used := b.Used(); used != startBuffer {
			t.Errorf("a reset connection holds %d bytes, want what it has buffered in", used)
		}
		got, err := io.ReadAll(c)
		var reset *ResetError
		if string(got) != "before" || !errors.As(err, &reset) || reset.Reason != ReasonRevoked || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("ReadAll() = %q, %v, want the data and ECONNRESET (revoked)", got, err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("Write() = %v, want ECONNRESET", err)
		}
		c.Close()
		if b.Used() != 0 {
			t.Errorf("%d bytes held after Close", b.Used())
		}
		v.expect()
	})
}

func TestRevocation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(64<<10, Config{})
		defer p.stop()
		a1, b1 := p.connect(t, 5000)
		a2, b2 := p.connect(t, 5001)
		n := p.b.Reset(func(local, remote uint32, incoming bool) bool {
			return local == 7 && remote == 5000 && incoming
		}, ReasonRevoked)
		if n != 1 {
			t.Errorf("Reset() = %d, want 1", n)
		}
		for name, c := range map[string]*Conn{"local": b1, "remote": a1} {
			var reset *ResetError
			if _, err := c.Read(make([]byte, 1)); !errors.As(err, &reset) || reset.Reason != ReasonRevoked {
				t.Errorf("Read() at the %s end = %v, want revoked", name, err)
			}
		}
		p.settle()
		if na, nb := p.a.Stats().Open, p.b.Stats().Open; na != 1 || nb != 1 {
			t.Errorf("%d and %d tuples left, want 1 and 1", na, nb)
		}
		if _, err := a2.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		for _, c := range []*Conn{a1, b1, a2, b2} {
			c.Close()
		}
	})
}

// Both sides dial the same tuple at once: each sees it taken.
func TestCrossingRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{})
		defer v.stop()
		got := make(chan error)
		go func() {
			_, err := v.s.Dial(t.Context(), 500, 600)
			got <- err
		}()
		v.expect(opRequest)
		v.send(header{src: 600, dst: 500, op: opRequest, bufAlloc: 1}, nil)
		v.expect(opReset)
		if err := <-got; err == nil {
			t.Error("Dial() succeeded on a tuple that the other side takes too")
		}
		v.send(header{src: 600, dst: 500, op: opReset}, nil)
		v.expect()
	})
}

// An acceptor may use and close a connection before RESPONSE is sent; the peer
// still sees RESPONSE first.
func TestAcceptorIsFasterThanResponse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{Route: func(uint32, uint32) Route { return Route{Acceptor: hasty{}} }})
		defer v.stop()
		v.send(in(opRequest), nil)
		v.expect()
		time.Sleep(2 * time.Second)
		v.expect(opResponse, opData, opShutdown)
	})
}

// hasty is an acceptor whose goroutine is done before Offer returns.
type hasty struct{}

func (hasty) Offer(c *Conn) bool {
	go func() {
		_, _ = c.Write([]byte("hello"))
		c.Close()
	}()
	time.Sleep(time.Second)
	return true
}

func TestSessionClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{})
		c := v.connect(1000)
		v.stop()
		h := v.expect(opReset)[0]
		if Reason(h.flags) != ReasonShuttingDown {
			t.Errorf("RST %v, want shutting down", Reason(h.flags))
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("Read() = %v, want ECONNRESET", err)
		}
		c.Close()
	})
}

// When the link ends everybody is woken, with what was received still there.
func TestLinkEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := NewBudget(DefaultBudget, nil)
		p := newPair(64<<10, Config{Budget: b})
		a, c := p.connect(t, 5000)
		if _, err := c.Write([]byte("before")); err != nil {
			t.Fatal(err)
		}
		stuck := make(chan error, 1)
		go func() {
			_, err := a.Write(make([]byte, 1<<20))
			stuck <- err
		}()
		p.settle()
		p.endB.Fail(io.ErrUnexpectedEOF)
		if err := <-p.doneA; err != muxtest.ErrGone {
			t.Errorf("Run() = %v, want the transport's error", err)
		}
		<-p.doneB
		if err := <-stuck; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("Write() = %v, want ECONNRESET", err)
		}
		got, err := io.ReadAll(a)
		if !bytes.Equal(got, []byte("before")) || !errors.Is(err, muxtest.ErrGone) || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("ReadAll() = %q, %v", got, err)
		}
		if _, err := p.a.Dial(t.Context(), 5002, 7); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("Dial() after the end = %v, want ECONNRESET", err)
		}
		a.Close()
		c.Close()
		if n := p.a.Stats().Open; n != 0 || b.Used() != 0 {
			t.Errorf("%d tuples and %d bytes left", n, b.Used())
		}
	})
}

func TestReasonStrings(t *testing.T) {
	for _, test := range []struct {
		err  *ResetError
		want string
	}{
		{&ResetError{}, "connection reset"},
		{&ResetError{Reason: ReasonRevoked}, "connection reset: revoked"},
		{&ResetError{Reason: ReasonRefused, Dial: true}, "connection refused"},
		{&ResetError{Cause: ErrSilent}, "connection reset: link silent"},
		{&ResetError{Reason: 99, Dial: true}, "connection reason 99"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("Error() = %q, want %q", got, test.want)
		}
	}
	if got := fmt.Sprint(Addr{7}); got != "7" {
		t.Errorf("Addr = %q", got)
	}
}
