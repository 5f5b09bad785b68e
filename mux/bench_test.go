package mux

import (
	"context"
	"fmt"
	"io"
	"testing"
)

// echoPair returns a connection whose other end sends back what it gets.
func echoPair(t testing.TB, size int) (*pair, *Conn) {
	p := newPair(64<<10, Config{})
	c, err := p.a.Dial(context.Background(), 5000, 7)
	if err != nil {
		t.Fatal(err)
	}
	d := <-p.accepted
	go func() {
		defer d.Close()
		b := make([]byte, size)
		for {
			if _, err := io.ReadFull(d, b); err != nil {
				return
			}
			if _, err := d.Write(b); err != nil {
				return
			}
		}
	}()
	return p, c
}

// sinkPair returns a connection whose other end reads and forgets.
func sinkPair(t testing.TB, ring, size int) (*pair, *Conn, chan int64) {
	p := newPair(ring, Config{})
	c, err := p.a.Dial(context.Background(), 5000, 7)
	if err != nil {
		t.Fatal(err)
	}
	d := <-p.accepted
	total := make(chan int64, 1)
	go func() {
		defer d.Close()
		b := make([]byte, size)
		var sum int64
		for {
			n, err := d.Read(b)
			sum += int64(n)
			if err != nil {
				total <- sum
				return
			}
		}
	}()
	return p, c, total
}

func echo(t testing.TB, c *Conn, b []byte) {
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
}

// No allocation per message, on either side, in steady state.
func TestNoAllocations(t *testing.T) {
	t.Run("echo of 64 B", func(t *testing.T) {
		p, c := echoPair(t, 64)
		defer p.stop()
		defer c.Close()
		b := make([]byte, 64)
		for range 2000 { // until the windows have grown
			echo(t, c, b)
		}
		if n := testing.AllocsPerRun(2000, func() { echo(t, c, b) }); n != 0 {
			t.Errorf("%v allocations an echo", n)
		}
	})
	t.Run("stream", func(t *testing.T) {
		p, c, total := sinkPair(t, 64<<10, 64<<10)
		b := make([]byte, 64<<10)
		write := func() {
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		for range 100 {
			write()
		}
		if n := testing.AllocsPerRun(500, write); n != 0 {
			t.Errorf("%v allocations a Write of 64 KiB", n)
		}
		c.Close()
		if n, want := <-total, int64(601*len(b)); n != want {
			t.Errorf("%d bytes came through, want %d", n, want)
		}
		p.stop()
	})
}

// counter is a Relay that says how much data it got.
type counter struct{ got chan int }

// Deliver implements Relay.
func (e *counter) Deliver(_ *Session, p Packet, a, b []byte) bool {
	if p.Op == OpData {
		e.got <- len(a) + len(b)
	}
	return true
}

// Reset implements Relay.
func (e *counter) Reset(Packet) {}

// Lost implements Relay.
func (e *counter) Flush() {}

func (e *counter) Lost() {}

// relayedEcho returns a function that passes a message of size bytes from one kernel to
// the other and back.
func relayedEcho(t testing.TB, size int) (p *pair, echo func()) {
	a, b := &counter{got: make(chan int, 64)}, &counter{got: make(chan int, 64)}
	p = newRelayPair(64<<10, a, b, Config{})
	open(t, p, a, b, TypeStream)
	msg := make([]byte, size)
	pass := func(from *Session, k, to *counter, local, remote uint32) {
		if err := from.Send(k, Packet{Local: local, Remote: remote, Type: TypeStream, Op: OpCreditUpdate}, nil); err != nil {
			t.Fatal(err)
		}
		if err := from.Send(k, Packet{Local: local, Remote: remote, Type: TypeStream, Op: OpData}, msg); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < size; {
			n += <-to.got
		}
	}
	return p, func() {
		pass(p.a, a, b, 5000, 7)
		pass(p.b, b, a, 7, 5000)
	}
}

// No allocation per message of a relayed connection either.
func TestRelayingAllocatesNothing(t *testing.T) {
	for _, size := range []int{64, 64 << 10} {
		p, echo := relayedEcho(t, size)
		for range 100 {
			echo()
		}
		if n := testing.AllocsPerRun(1000, echo); n != 0 {
			t.Errorf("%v allocations an echo of %d bytes", n, size)
		}
		p.stop()
	}
}

func BenchmarkRelayedEcho64(b *testing.B) {
	p, echo := relayedEcho(b, 64)
	defer p.stop()
	b.ReportAllocs()
	for b.Loop() {
		echo()
	}
}

func BenchmarkEcho64(b *testing.B) {
	p, c := echoPair(b, 64)
	defer p.stop()
	defer c.Close()
	msg := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		echo(b, c, msg)
	}
}

func BenchmarkBulk(b *testing.B) {
	for _, ring := range []int{64 << 10, 1 << 20} {
		for _, size := range []int{4 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("ring=%dKiB/write=%dKiB", ring>>10, size>>10), func(b *testing.B) {
				p, c, total := sinkPair(b, ring, 64<<10)
				msg := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.Write(msg); err != nil {
						b.Fatal(err)
					}
				}
				c.Close()
				<-total
				p.stop()
			})
		}
	}
}
