package mux

import (
	"fmt"
	"testing"
)

// bulk is a peer whose ring is full of the data of many writers.
func bulk(t *testing.T, ring, writers int) *victim {
	v := newVictimOver(t, Config{}, ring, heated)
	for i := range writers {
		c := v.eager(uint32(1000 + i))
		go func() {
			defer c.Close()
			for {
				if _, err := c.Write(make([]byte, 100<<10)); err != nil {
					return
				}
			}
		}()
	}
	v.settle()
	return v
}

// eager makes a connection of which the peer takes all it can get.
func (v *victim) eager(port uint32) *Conn {
	h := in(opRequest)
	h.src, h.bufAlloc = port, 1<<30
	v.send(h, nil)
	return <-v.accepted
}

// lying returns the frames in the ring towards the peer.
func (v *victim) lying() []header {
	v.settle()
	a, b, _ := v.peer.end.Peek(0)
	var list []header
	for at := 0; at < len(a)+len(b); {
		var raw [headerSize]byte
		gather(raw[:], a, b, at)
		h := decodeHeader(&raw)
		list = append(list, h)
		at += frameSize(int(h.size))
	}
	return list
}

// take takes the first of them.
func (v *victim) take(h header) {
	v.peer.end.Discard(frameSize(int(h.size)))
	v.got++
	_ = v.peer.end.Flush()
}

// While others wait, no more than 32 KiB of one connection lies in the ring,
// and all get the same share.
func TestBulkIsShared(t *testing.T) {
	for _, test := range []struct{ ring, writers int }{{64 << 10, 2}, {64 << 10, 10}, {1 << 20, 2}, {1 << 20, 10}, {4 << 10, 10}} {
		t.Run(fmt.Sprintf("%d writers in a ring of %d", test.writers, test.ring), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v := bulk(t, test.ring, test.writers)
				defer v.stop()
				// What came in while one was alone is not what this is about.
				for range test.ring / (1 << 10) {
					if l := v.lying(); len(l) > 0 {
						v.take(l[0])
					}
				}
				shares := map[uint32]int{}
				for range 30 * test.writers {
					list := v.lying()
					if len(list) == 0 {
						t.Fatal("the ring is empty and writers wait")
					}
					in := map[uint32]int{}
					for _, h := range list {
						in[h.dst] += frameSize(int(h.size))
					}
					for port, n := range in {
						if n > maxTurn {
							t.Fatalf("%d bytes of one of %d connections (%d) in the ring", n, test.writers, port)
						}
					}
					shares[list[0].dst] += int(list[0].size)
					v.take(list[0])
				}
				least, most := 1<<30, 0
				for _, n := range shares {
					least, most = min(least, n), max(most, n)
				}
				if len(shares) != test.writers || most > least+least/2 {
					t.Errorf("shares %v: from %d to %d bytes", shares, least, most)
				}
			})
		})
	}
}

// A small message waits for what is in the ring and for one turn of each of the
// others, no longer.
func TestSmallMessagePassesBulk(t *testing.T) {
	for round := range 3 {
		bubble(t, func(t *testing.T) {
			v := bulk(t, 64<<10, 10)
			defer v.stop()
			c := v.eager(9999)
			defer c.Close()
			for range round * 7 {
				v.take(v.lying()[0])
			}
			list := v.lying()
			for list[0].op != opData {
				v.take(list[0])
				list = v.lying()
			}
			go func() { _, _ = c.Write(make([]byte, 64)) }()
			for n := 0; ; {
				list := v.lying()
				if list[0].dst == 9999 && list[0].op == opData {
					t.Logf("%d bytes before it", n)
					return
				}
				if n > 64<<10+10*(16<<10) {
					t.Fatalf("%d bytes before a small one", n)
				}
				n += int(list[0].size)
				v.take(list[0])
			}
		})
	}
}

// A connection alone may use the whole ring.
func TestAloneIsNotLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := bulk(t, 1<<20, 1)
		defer v.stop()
		if n := v.end.Lying(); n < 1<<20-maxTurn {
			t.Errorf("%d bytes in a ring of 1 MiB", n)
		}
	})
}

// A ring that holds no whole number of messages is used up all the same.
func TestFramesFillTheRing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := bulk(t, 64<<10, 1)
		defer v.stop()
		used := 0
		for _, h := range v.lying() {
			used += frameSize(int(h.size))
		}
		if used != 64<<10 {
			t.Errorf("%d bytes of the ring are used, and a Write waits", used)
		}
	})
}
