package mux

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"xvsock/mux/muxtest"
)

// Within a connection nothing overtakes data: the SHUTDOWN of CloseRead waits
// for a Write that waits, and goes when that gives up.
func TestShutdownDoesNotOvertakeData(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{})
		defer v.stop()
		h := in(opRequest)
		h.bufAlloc = 10
		v.send(h, nil)
		v.expect(opResponse)
		c := <-v.accepted
		defer c.Close()
		_ = c.SetWriteDeadline(time.Now().Add(1500 * time.Millisecond)) // between two turns of the pump
		got := make(chan error)
		go func() {
			_, err := c.Write(make([]byte, 20))
			got <- err
		}()
		v.expect(opData)
		_ = c.CloseRead()
		v.expect()
		if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write() = %v, want a timeout", err)
		}
		v.expect(opShutdown)
	})
}

func TestShutdownIsSentOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{})
		defer v.stop()
		c := v.connect(1000)
		for range 3 {
			_ = c.CloseWrite()
		}
		if h := v.expect(opShutdown)[0]; h.flags != shutSend {
			t.Errorf("flags %d, want send", h.flags)
		}
		c.Close()
		if h := v.expect(opShutdown)[0]; h.flags != shutBoth {
			t.Errorf("flags %d, want both", h.flags)
		}
	})
}

// slow is an acceptor that takes a second to say yes.
type slow struct{ conns backlog }

func (s slow) Offer(c *Conn) bool {
	time.Sleep(time.Second)
	return s.conns.Offer(c)
}

// A connection revoked while it is offered is never answered with RESPONSE.
func TestRevokedWhileOffered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		taken := make(backlog, 1)
		v := newVictim(t, Config{Route: func(uint32, uint32) Route { return Route{Acceptor: slow{taken}} }})
		defer v.stop()
		v.send(in(opRequest), nil)
		if n := v.s.Reset(func(uint32, uint32, bool) bool { return true }, ReasonRevoked); n != 1 {
			t.Errorf("Reset() = %d, want 1", n)
		}
		v.expect()
		time.Sleep(2 * time.Second)
		if h := v.expect(opReset)[0]; Reason(h.flags) != ReasonRevoked {
			t.Errorf("RST %v, want revoked", Reason(h.flags))
		}
		(<-taken).Close()
	})
}

// A frame that was on its way to a connection when its tuple was given to
// another one does not touch that.
func TestLateFrameSparesTheNextOwner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{})
		defer v.stop()
		old := v.connect(1000)
		v.send(in(opReset), nil)
		next := v.connect(1000)
		old.frame(header{typ: typeStream, op: opReset}, nil, nil)
		if n := v.s.Stats().Open; n != 1 {
			t.Errorf("%d tuples, want the new one", n)
		}
		old.Close()
		next.Close()
	})
}

// A connection that was answered was made, even if it ends in the same breath.
func TestDialSucceedsIfAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{})
		defer v.stop()
		dialed := make(chan *Conn)
		go func() {
			c, err := v.s.Dial(t.Context(), 40000, 7)
			if err != nil {
				t.Errorf("Dial() = %v", err)
			}
			dialed <- c
		}()
		v.expect(opRequest)
		from := header{src: 7, dst: 40000}
		var frames []byte
		for _, op := range []uint16{opResponse, opData, opReset} {
			from.op = op
			var payload []byte
			if op == opData {
				payload = []byte("hello")
			}
			frames = append(frames, v.encode(from, payload)...)
		}
		v.raw(frames)
		c := <-dialed
		if got, err := io.ReadAll(c); string(got) != "hello" || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("ReadAll() = %q, %v", got, err)
		}
		c.Close()
	})
}

// wantRecorder notes what room is asked for.
type wantRecorder struct {
	Transport
	wants []int
}

func (w *wantRecorder) Want(n int) {
	w.wants = append(w.wants, n)
	w.Transport.Want(n)
}

// Room is asked for again when an answer took it, and no longer when nobody
// waits.
func TestRoomIsWantedUntilItIsUsed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rec := &wantRecorder{}
		v := newVictimOver(t, Config{}, 64<<10, func(e *muxtest.End) Transport {
			rec.Transport = heated(e)
			return rec
		})
		defer v.stop()
		c := v.eager(1000)
		defer c.Close()
		v.expect(opResponse)
		go func() { _, _ = c.Write(make([]byte, 100<<10)) }()
		list := v.lying()
		v.peer.end.Discard(frameSize(int(list[0].size)))
		v.got++
		h := in(opShutdown)
		h.src = 5000
		v.send(h, nil) // its RST takes a little of the room
		for _, h := range v.lying() {
			v.take(h)
		}
		if len(v.lying()) == 0 {
			t.Fatal("the ring is empty and a writer waits")
		}
		v.frames()
		v.settle()
		v.frames()
		v.settle()
		if n := rec.wants[len(rec.wants)-1]; n != 0 {
			t.Errorf("Want(%d) after all was sent", n)
		}
	})
}

// What pads a frame is zero, whatever lay in the ring before.
func TestPaddingIsZero(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictimOver(t, Config{}, 4096, heated)
		defer v.stop()
		c := v.eager(1000)
		defer c.Close()
		v.frames()
		if _, err := c.Write(bytes.Repeat([]byte{0xff}, 3900)); err != nil {
			t.Fatal(err)
		}
		v.frames()
		for range 200 {
			v.settle()
			v.end.Wake()
			v.settle()
			if _, err := c.Write([]byte{0xff}); err != nil {
				t.Fatal(err)
			}
			a, b, _ := v.peer.end.Peek(0)
			pad := make([]byte, 7)
			gather(pad, a, b, headerSize+1)
			if !bytes.Equal(pad, make([]byte, 7)) {
				t.Fatalf("padding %x", pad)
			}
			v.frames()
		}
	})
}
