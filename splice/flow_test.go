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

// slow is a sink that takes some bytes within each deadline.
type slow struct {
	far
	each, left int // bytes a deadline, and how many it takes at all
}

func (s *slow) Write(p []byte) (int, error) {
	n := min(s.each, s.left, len(p))
	s.left -= n
	s.far.Write(p[:n])
	if n == len(p) {
		return n, nil
	}
	time.Sleep(time.Until(s.deadline))
	return n, os.ErrDeadlineExceeded
}

func TestASinkThatTakesLittleAtATimeIsNotGivenUp(t *testing.T) {
	for name, test := range map[string]struct {
		takes int
		err   error
		after time.Duration
	}{
		"all of it":                  {100, nil, 9 * time.Minute},
		"the beginning, and no more": {35, os.ErrDeadlineExceeded, 5 * time.Minute},
		"nothing":                    {0, os.ErrDeadlineExceeded, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				message := make([]byte, 100)
				for i := range message {
					message[i] = byte(i)
				}
				sink, began := &slow{each: 10, left: test.takes}, time.Now()
				f := &Flow{Src: bytes.NewReader(message), Dst: sink, Untaken: time.Minute, Given: new(atomic.Int64)}
				if _, err := f.Run(make([]byte, 1000)); err != test.err {
					t.Errorf("Run gives %v; want %v", err, test.err)
				}
				if took := time.Since(began); took != test.after {
					t.Errorf("after %v; want %v", took, test.after)
				}
				if got := sink.String(); got != string(message[:test.takes]) || f.Given.Load() != int64(test.takes) {
					t.Errorf("the sink has %q, %d counted", got, f.Given.Load())
				}
			})
		})
	}
}

// A deadline that has passed is nobody's progress where none was set.
func TestWithoutABoundADeadlineIsAnError(t *testing.T) {
	f := &Flow{Src: bytes.NewReader(make([]byte, 100)), Dst: &slow{each: 10, left: 100}}
	if _, err := f.Run(make([]byte, 100)); err != os.ErrDeadlineExceeded {
		t.Errorf("Run gives %v", err)
	}
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
