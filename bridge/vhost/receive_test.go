package vhost

import (
	"bytes"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
)

func TestAPacketHasEachFieldWhereTheKernelReadsIt(t *testing.T) {
	p := packet{
		srcCID: 0x0102030405060708, dstCID: 0x1112131415161718, size: 0x31323334,
		Header: Header{Src: 0x21222324, Dst: 0x25262728, Type: 0x4142, Op: 0x4344, Flags: 0x51525354, BufAlloc: 0x61626364, FwdCnt: 0x71727374},
	}
	want := []byte{
		8, 7, 6, 5, 4, 3, 2, 1, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
		0x24, 0x23, 0x22, 0x21, 0x28, 0x27, 0x26, 0x25, 0x34, 0x33, 0x32, 0x31,
		0x42, 0x41, 0x44, 0x43, 0x54, 0x53, 0x52, 0x51, 0x64, 0x63, 0x62, 0x61, 0x74, 0x73, 0x72, 0x71,
	}
	got := make([]byte, headerSize)
	if p.encode(got); !bytes.Equal(got, want) {
		t.Errorf("encoded as\n% x, want\n% x", got, want)
	}
	if back := decodePacket(want); back != p {
		t.Errorf("decoded as %+v", back)
	}
}

func TestThePartsOfTheMemoryDoNotOverlap(t *testing.T) {
	for _, s := range []shape{standardShape(), smallShape()} {
		l := s.layout()
		end := 0
		for n, part := range []span{
			l.rx.desc, l.rx.avail, l.rx.used, l.tx.desc, l.tx.avail, l.tx.used, l.headers, l.buffers, l.arena, {l.size, 0},
		} {
			if part.offset < end {
				t.Errorf("%+v: part %d begins at %d, before %d", s, n, part.offset, end)
			}
			end = part.offset + part.size
		}
		for _, a := range []area{l.rx, l.tx} {
			if a.desc.offset%16 != 0 || a.avail.offset%4 != 0 || a.used.offset%4 != 0 {
				t.Errorf("%+v: %+v is not aligned", s, a)
			}
		}
	}
	if s := standardShape(); s.layout().size > 4<<20/3 { // as doc.go says
		t.Errorf("an instance has %d bytes", s.layout().size)
	}
}

func TestReceiveReturnsWhatTheKernelSent(t *testing.T) {
	i, k := running(t, standardShape())
	for n, payload := range []string{"", "a", "hello", strings.Repeat("x", standardShape().bufferSize-headerSize)} {
		p := fromKernel(opRW)
		p.Flags, p.BufAlloc, p.FwdCnt, p.Type = 3, 1<<18, uint32(n), typeSeqpacket
		if !k.deliver(p, []byte(payload)) {
			t.Fatal("no buffer")
		}
		h, got, err := i.Receive()
		if err != nil || h != p.Header || string(got) != payload {
			t.Errorf("received %+v with %d bytes, %v, want %+v with %d", h, len(got), err, p.Header, len(payload))
		}
	}
}

// dawdle takes up to some microseconds, another time for each n, so that what comes
// next falls into any moment of what another goroutine does.
func dawdle(n int) {
	for range n * 7919 % 16384 {
		runtime.KeepAlive(n)
	}
}

// The kernel waits for a kick when it has no buffer, and the instance for an interrupt
// when there is no packet: whoever forgets the other stops the test.
func TestNoWakeUpIsLost(t *testing.T) {
	for _, c := range []struct {
		name    string
		shape   shape
		packets int
	}{
		{"64 buffers", standardShape(), 5_000},
		{"8 buffers, and the index wraps", smallShape(), 5_000},
		{"once around all indexes", smallShape(), 70_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i, k := running(t, c.shape)
				go func() {
					k.rx.kicks(false)
					for n := range c.packets {
						p := fromKernel(opCreditRequest)
						p.FwdCnt = uint32(n)
						if n%8 == 0 {
							dawdle(n)
						}
						for !k.deliver(p, nil) {
							k.rx.kicks(true)
							if k.deliver(p, nil) {
								k.rx.kicks(false)
								break
							}
							if k.rxKick.Wait() != nil {
								return
							}
							k.rx.kicks(false)
						}
					}
				}()
				for n := range c.packets {
					h, _, err := i.Receive()
					if err != nil || h.FwdCnt != uint32(n) {
						t.Fatalf("packet %d is %+v, %v", n, h, err)
					}
				}
			})
		})
	}
}

func TestTheKernelDoesNotInterruptWhilePacketsAreLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, k := running(t, standardShape())
		woken := make(chan error)
		go func() {
			for range 31 {
				if _, _, err := i.Receive(); err != nil {
					woken <- err
				}
			}
			woken <- nil
		}()
		synctest.Wait()
		k.deliver(fromKernel(opRW), nil)
		synctest.Wait() // it has gone to sleep again
		if n := k.rxCall.signals(); n != 1 {
			t.Fatalf("%d interrupts for a packet, want 1", n)
		}
		k.rx.call = newFakeEvent() // the instance does not hear of what comes now
		for range 30 {
			k.deliver(fromKernel(opRW), nil)
		}
		interrupts := k.rx.call
		_ = k.rxCall.Signal()
		if err := <-woken; err != nil {
			t.Fatal(err)
		}
		if n := interrupts.signals(); n != 30 {
			t.Fatalf("%d interrupts while it slept, want 30", n)
		}
		for range 10 {
			k.deliver(fromKernel(opRW), nil) // it drains
		}
		if n := interrupts.signals(); n != 30 {
			t.Errorf("%d interrupts while packets were left", n-30)
		}
		if _, _, err := i.Receive(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBuffersAreGivenBackAFewAtATime(t *testing.T) {
	i, k := running(t, standardShape())
	const packets = 640
	for n := range packets {
		if !k.deliver(fromKernel(opRW), []byte("x")) {
			t.Fatalf("no buffer for packet %d", n)
		}
		if _, _, err := i.Receive(); err != nil {
			t.Fatal(err)
		}
	}
	if n := k.rxKick.signals(); n == 0 || n > packets/8 {
		t.Errorf("%d kicks for %d packets, want one for 8", n, packets)
	}
}

func TestPayloadStaysUntilTheNextReceive(t *testing.T) {
	i, k := running(t, smallShape())
	k.deliver(fromKernel(opRW), []byte("first"))
	_, first, err := i.Receive()
	if err != nil {
		t.Fatal(err)
	}
	for k.deliver(fromKernel(opRW), []byte("other")) {
	}
	if string(first) != "first" {
		t.Errorf("it was overwritten with %q", first)
	}
}

func TestPacketsOfOthersAndOfUnknownKindsArePassedOver(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*packet)
		payload string
	}{
		{"from another CID", func(p *packet) { p.srcCID = 3 }, ""},
		{"from a CID that is right in 32 bits", func(p *packet) { p.srcCID = 1<<32 + hostCID }, ""},
		{"to another CID", func(p *packet) { p.dstCID = testCID + 1 }, ""},
		{"to a CID that is right in 32 bits", func(p *packet) { p.dstCID = 1<<32 + testCID }, ""},
		{"of type 0", func(p *packet) { p.Type = 0 }, ""},
		{"of a type that is new", func(p *packet) { p.Type = 3 }, ""},
		{"of operation 0", func(p *packet) { p.Op = 0 }, ""},
		{"of an operation that is new", func(p *packet) { p.Op = 8 }, ""},
		{"payload where none is", func(p *packet) { p.Op = opRequest }, "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, k := running(t, smallShape())
			for n := range 20 { // more than there are buffers: they are given back
				p := fromKernel(opRW)
				c.change(&p)
				if !k.deliver(p, []byte(c.payload)) || !k.deliver(fromKernel(opRequest), nil) {
					t.Fatal("no buffer")
				}
				h, _, err := i.Receive()
				if err != nil || h != fromKernel(opRequest).Header {
					t.Fatalf("received %+v, %v", h, err)
				}
				if got := i.Dropped(); got != uint64(n+1) {
					t.Errorf("%d dropped, want %d", got, n+1)
				}
			}
		})
	}
}

func TestNonsenseInTheReceiveQueueBreaksTheInstance(t *testing.T) {
	for _, c := range []struct {
		name   string
		kernel func(k *fake, s shape)
		says   string
	}{
		{"more used than given", func(k *fake, s shape) { k.rx.done += uint16(s.buffers) + 1; k.rx.show() }, "used.idx"},
		{"used.idx goes back", func(k *fake, _ shape) { k.rx.done--; k.rx.show() }, "used.idx"},
		{"a buffer that does not exist", func(k *fake, s shape) { k.rx.push(uint32(s.buffers), headerSize) }, "does not have"},
		{"a buffer with a huge number", func(k *fake, _ shape) { k.rx.push(math.MaxUint32, headerSize) }, "does not have"},
		{"a number that is right in 16 bits", func(k *fake, _ shape) { k.rx.push(1<<16, headerSize) }, "does not have"},
		{"no bytes", func(k *fake, _ shape) { k.rx.push(0, 0) }, "0 bytes"},
		{"less than a header", func(k *fake, _ shape) { k.rx.push(0, headerSize-1) }, "43 bytes"},
		{"more than the buffer", func(k *fake, s shape) { k.rx.push(0, uint32(s.bufferSize)+1) }, "receive buffer of"},
		{"2^31 bytes", func(k *fake, _ shape) { k.rx.push(0, 1<<31) }, "receive buffer of"},
		{"2^32-1 bytes", func(k *fake, _ shape) { k.rx.push(0, math.MaxUint32) }, "receive buffer of"},
		{"a payload that is longer than the packet", func(k *fake, _ shape) {
			p := fromKernel(opRW)
			p.size = 1
			_, at, size, _ := k.rx.pop()
			p.encode(k.memory[at : at+size])
			k.rx.push(0, headerSize)
		}, "says that its payload"},
		{"a payload that is shorter than the packet", func(k *fake, _ shape) {
			p := fromKernel(opRW)
			_, at, size, _ := k.rx.pop()
			p.encode(k.memory[at : at+size])
			k.rx.push(0, headerSize+1)
		}, "says that its payload"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, k := running(t, smallShape())
			c.kernel(k, smallShape())
			_, _, err := i.Receive()
			if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Receive: %v, want %v and %q", err, ErrBroken, c.says)
			}
			if _, _, again := i.Receive(); again != err {
				t.Errorf("Receive again: %v", again)
			}
			if !sendNow(i, Header{}, nil, nil) {
				t.Error("Send has no room in a broken instance")
			}
		})
	}
}

func TestABufferThatTheKernelReturnsTwiceBreaksTheInstance(t *testing.T) {
	for _, c := range []struct {
		name  string
		reads int // packets that are received between the two
	}{
		{"while a program reads it", 0},
		{"before it is the kernel's again", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, k := running(t, standardShape())
			k.deliver(fromKernel(opRW), nil)
			for range c.reads {
				k.deliver(fromKernel(opRW), nil)
			}
			k.rx.push(0, headerSize)
			for range 1 + c.reads {
				if _, _, err := i.Receive(); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := i.Receive(); !errors.Is(err, ErrBroken) {
				t.Errorf("Receive: %v, want %v", err, ErrBroken)
			}
		})
	}
}
