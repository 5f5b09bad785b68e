package splice

import (
	"bytes"
	"io"
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
		f := &Flow{Dst: sink, Untaken: time.Minute}
		for range 100 {
			f.write([]byte("x"))
			if left := time.Until(sink.deadline); left < 30*time.Second || left > time.Minute {
				t.Fatalf("a write has %v; want half a minute to a minute", left)
			}
			time.Sleep(7 * time.Second)
		}
	})
}

func TestABufferIsClearedBetweenPeers(t *testing.T) {
	var b Buffers
	near, other := net.Pipe()
	go func() { io.WriteString(other, "secret"); other.Close() }()
	b.Run(&Flow{Src: near, Dst: Drop{}})
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
		new(Buffers).Run(&Flow{Src: in, Dst: w, Given: new(atomic.Int64), Untaken: time.Minute})
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
