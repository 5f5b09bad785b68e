package mux

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

func over(c *Conn) bool {
	select {
	case <-c.Done():
		return true
	default:
		return false
	}
}

func TestAConnectionTellsItsEnd(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(p *pair, a, b *Conn)
		wait time.Duration // until then a is not over
		lost error
	}{
		"this side closes": {func(_ *pair, a, _ *Conn) { a.Close() }, 0, nil},
		"this side resets": {func(_ *pair, a, _ *Conn) { a.Reset(ReasonNone) }, 0, syscall.ECONNRESET},
		"the other side closes": {func(_ *pair, a, b *Conn) {
			b.Close()
		}, 0, nil},
		"the other side closes, and its data is not read": {func(_ *pair, a, b *Conn) {
			b.Write([]byte("x"))
			b.Close()
		}, lingerTime, nil},
		"the other side resets":           {func(_ *pair, _, b *Conn) { b.Reset(ReasonNone) }, 0, syscall.ECONNRESET},
		"the other side ends its sending": {func(_ *pair, _, b *Conn) { b.CloseWrite() }, -1, nil},
		"the other side reads no more":    {func(_ *pair, _, b *Conn) { b.CloseRead() }, -1, nil},
		"this side ends its sending":      {func(_ *pair, a, _ *Conn) { a.CloseWrite() }, -1, nil},
		"both end their sending": {func(_ *pair, a, b *Conn) {
			a.CloseWrite()
			b.CloseWrite()
		}, lingerTime, nil},
		"this side ends its sending, and is reset": {func(_ *pair, a, b *Conn) {
			a.CloseWrite()
			b.Reset(ReasonNone)
		}, 0, syscall.ECONNRESET},
		"policy revokes it": {func(p *pair, _, _ *Conn) {
			p.a.Reset(func(uint32, uint32, bool) bool { return true }, ReasonRevoked)
		}, 0, syscall.ECONNRESET},
		"the link ends": {func(p *pair, _, _ *Conn) { p.b.Close(); p.endB.Fail(errors.New("gone")) }, 0, syscall.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := newPair(64<<10, Config{})
				defer p.stop()
				a, b := p.connect(t, 5000)
				defer a.Close()
				defer b.Close()
				early := a.Done() // asked for before, as by who waits for it
				test.do(p, a, b)
				p.settle()
				if test.wait != 0 && over(a) {
					t.Error("it is over already")
				}
				if test.wait < 0 {
					time.Sleep(20 * time.Second)
					if over(a) || a.Err() != nil {
						t.Errorf("it is over, %v; one direction goes on", a.Err())
					}
					return
				}
				time.Sleep(test.wait + time.Millisecond)
				if <-early; !over(a) || !errors.Is(a.Err(), test.lost) {
					t.Errorf("over: %v, Err() = %v; want it over, %v", over(a), a.Err(), test.lost)
				}
				if test.lost == nil && a.Err() != nil {
					t.Errorf("Err() = %v after an orderly end", a.Err())
				}
			})
		})
	}
}

func TestAResetComesAfterTheData(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(64<<10, Config{})
		defer p.stop()
		a, b := p.connect(t, 5000)
		defer b.Close()
		if _, err := a.Write([]byte("half an ans")); err != nil {
			t.Fatal(err)
		}
		stuck := make(chan error)
		go func() {
			_, err := a.Write(make([]byte, 1<<20))
			stuck <- err
		}()
		p.settle()
		if err := a.Reset(ReasonNone); err != nil {
			t.Errorf("Reset() = %v", err)
		}
		if err := <-stuck; err == nil {
			t.Error("a Write outlived the reset")
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read() = %v; want that it is closed", err)
		}
		if err := a.Reset(ReasonNone); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a second Reset() = %v", err)
		}
		got, err := io.ReadAll(b)
		if string(got[:min(len(got), 11)]) != "half an ans" || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read %.20q, %v; want the data and then the reset", got, err)
		}
		p.settle()
		if st := p.a.Stats(); st.Open != 0 {
			t.Errorf("%d tuples left", st.Open)
		}
		if n := p.a.cfg.Budget.Used(); n != 0 {
			t.Errorf("%d bytes of budget left", n)
		}
	})
}
