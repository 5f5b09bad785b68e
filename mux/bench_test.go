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
