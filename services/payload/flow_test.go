package payload

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// far is a sink that notes its deadline.
type far struct {
	bytes.Buffer
	deadline time.Time
}

func (f *far) SetWriteDeadline(t time.Time) error { f.deadline = t; return nil }

func TestADeadlineIsMovedWhenHalfOfItIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &far{}
		f := &flow{dst: sink, untaken: time.Minute}
		for range 100 {
			f.write([]byte("x"))
			if left := time.Until(sink.deadline); left < 30*time.Second || left > time.Minute {
				t.Fatalf("a write has %v; want half a minute to a minute", left)
			}
			time.Sleep(7 * time.Second)
		}
	})
}

func TestAFinishedOutletGivesWhatIsThere(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() // whoever holds it open
	o := newOutlet(r)
	defer o.Close()
	w.Write(make([]byte, 60000))
	o.finish()
	if all, err := io.ReadAll(o); len(all) != 60000 || err != nil {
		t.Errorf("%d bytes, %v; want 60000 and the end", len(all), err)
	}
	w.Write([]byte("late"))
	o.rest = 0
	if n, err := o.Read(make([]byte, 10)); err != io.EOF {
		t.Errorf("after the most that a pipe holds: %d, %v", n, err)
	}
}

func TestABufferIsClearedBetweenPeers(t *testing.T) {
	var b buffers
	near, other := net.Pipe()
	go func() { io.WriteString(other, "secret"); other.Close() }()
	b.run(&flow{src: near, dst: drop{}})
	for range 100 { // the pool gives no promise which it gives
		if buffer, ok := b.pool.Get().(*[bufferSize]byte); ok && *buffer != [bufferSize]byte{} {
			t.Fatal("a buffer carries the last peer's bytes")
		}
	}
}

func TestNothingIsAllocatedForAMessage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	out, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	in := <-accepted
	defer in.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		new(buffers).run(&flow{src: in, dst: w, given: new(atomic.Int64), untaken: time.Minute})
	}()
	message := make([]byte, 512)
	allocations := testing.AllocsPerRun(200, func() {
		out.Write(message)
		io.ReadFull(r, message)
	})
	if allocations > 0 {
		t.Errorf("%v allocations a message", allocations)
	}
	out.Close()
	<-done
	w.Close()
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n"), 1)
	f.Add(bytes.Repeat([]byte("x"), 3000), 700)
	f.Fuzz(func(t *testing.T, text []byte, step int) {
		l := &lines{voice: newVoice(slog.New(slog.DiscardHandler))}
		step = max(step&0xFFF, 1)
		for rest := text; len(rest) > 0; {
			n := min(step, len(rest))
			if wrote, err := l.Write(rest[:n]); wrote != n || err != nil {
				t.Fatalf("Write = %d, %v", wrote, err)
			}
			rest = rest[n:]
			if len(l.line) > maxLine {
				t.Fatalf("a line of %d bytes is kept", len(l.line))
			}
		}
		l.flush()
	})
}
