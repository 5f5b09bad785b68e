package vhost

import (
	"bytes"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"xvsock/internal/sys"
)

// toKernel is a header for Send.
func toKernel(n int) Header {
	return Header{Src: 80, Dst: uint32(n), Type: typeStream, Op: opRW, BufAlloc: 5, FwdCnt: 6}
}

// sendNow is Send, of which the kernel is told at once.
func sendNow(i *Instance, h Header, a, b []byte) bool {
	sent := i.Send(h, a, b)
	i.Flush()
	return sent
}

// A row of packets costs the kernel one wake-up.
func TestTheKernelIsToldOfARowOfPacketsOnce(t *testing.T) {
	i, k := running(t, standardShape())
	for n := range 8 {
		i.Send(toKernel(n), []byte("x"), nil)
	}
	if n := k.txKick.signals(); n != 0 {
		t.Errorf("%d kicks before Flush", n)
	}
	i.Flush()
	i.Flush() // nothing new
	if n := k.txKick.signals(); n != 1 {
		t.Errorf("%d kicks, want 1", n)
	}
	// Who is told that there is no room waits for the kernel, which must know.
	for i.Send(toKernel(0), nil, nil) {
	}
	if n := k.txKick.signals(); n != 2 {
		t.Errorf("%d kicks with a full queue, want 2", n)
	}
}

func TestSendGivesTheKernelBothParts(t *testing.T) {
	i, k := running(t, standardShape())
	for n, parts := range [][2]string{
		{"", ""}, {"a", ""}, {"", "b"}, {"ab", "cd"}, {strings.Repeat("x", MaxPayload), ""}, {strings.Repeat("x", MaxPayload-1), "y"},
	} {
		if !sendNow(i, toKernel(n), []byte(parts[0]), []byte(parts[1])) {
			t.Fatal("no room in an empty queue")
		}
		p, payload, ok := k.take()
		if !ok || p.Header != toKernel(n) || p.srcCID != testCID || p.dstCID != hostCID || string(payload) != parts[0]+parts[1] {
			t.Errorf("the kernel took %+v with %d bytes, %v", p, len(payload), ok)
		}
	}
	if n := k.txKick.signals(); n != 6 {
		t.Errorf("%d kicks for 6 packets that each found the kernel asleep", n)
	}
	k.tx.kicks(false)
	sendNow(i, toKernel(0), nil, nil)
	if n := k.txKick.signals(); n != 6 {
		t.Error("a kick that the kernel does not want")
	}
}

func TestTooMuchPayloadBreaksTheInstanceAndDoesNotReachTheKernel(t *testing.T) {
	i, k := running(t, standardShape())
	if !sendNow(i, toKernel(0), make([]byte, MaxPayload), []byte{1}) {
		t.Error("Send has no room")
	}
	if _, _, ok := k.take(); ok {
		t.Error("the kernel has a packet that is too long for it")
	}
	if _, _, err := i.Receive(); !errors.Is(err, ErrBroken) {
		t.Errorf("Receive: %v, want %v", err, ErrBroken)
	}
}

func TestBulkDataLeavesRoomForResets(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload int
		packets int // that fit
	}{
		{"small packets leave a quarter of the slots", 1, 192},
		{"large ones fill the arena", MaxPayload, 3},
		{"middle ones", 8192, 31},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, _ := running(t, standardShape())
			data := make([]byte, c.payload)
			n := 0
			for sendNow(i, toKernel(n), data, nil) {
				n++
			}
			if n != c.packets {
				t.Errorf("%d packets fit, want %d", n, c.packets)
			}
			resets := 0
			for sendNow(i, toKernel(0), nil, nil) {
				resets++
			}
			if resets != 256-n {
				t.Errorf("%d packets without payload fit then, want %d", resets, 256-n)
			}
		})
	}
}

func TestRoomTellsOfTheRoomThatWasWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, k := running(t, standardShape())
		large := make([]byte, MaxPayload)
		for n := range 200 {
			sendNow(i, toKernel(n), nil, nil)
		}
		for range 60 {
			k.take()
		}
		if n := k.txCall.signals(); n != 0 {
			t.Errorf("%d interrupts though nobody wants room", n)
		}
		for sendNow(i, toKernel(0), large, nil) {
		}
		told := func() bool {
			synctest.Wait()
			select {
			case <-i.Room():
				return true
			default:
				return false
			}
		}
		for range 140 { // what has no payload gives back no bytes
			k.take()
		}
		if told() {
			t.Error("told of room before there was any")
		}
		k.take()
		if !told() {
			t.Error("not told of room for a large packet")
		}
		if !sendNow(i, toKernel(0), large, nil) {
			t.Error("no room after Room has told of it")
		}
		before := k.txCall.signals()
		k.take()
		if k.txCall.signals() != before {
			t.Error("an interrupt though nobody wants room")
		}
	})
}

// The kernel frees the last slots between Send's two looks: Send must not wait for an
// interrupt that went by.
func TestRoomBetweenTwoLooksIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, k := running(t, smallShape())
		const packets = 200_000
		go func() {
			for n := range packets {
				for !sendNow(i, toKernel(n), nil, nil) {
					<-i.Room()
				}
			}
		}()
		k.tx.kicks(false)
		for n := range packets {
			if n%8 == 0 {
				dawdle(n)
			}
			id, at, _, ok := k.tx.pop()
			for ; !ok; id, at, _, ok = k.tx.pop() {
				k.tx.kicks(true)
				if id, at, _, ok = k.tx.pop(); ok {
					k.tx.kicks(false)
					break
				}
				if err := k.txKick.Wait(); err != nil {
					t.Fatal(err)
				}
				k.tx.kicks(false)
			}
			if p := decodePacket(k.memory[at:]); p.Dst != uint32(n) {
				t.Fatalf("packet %d is %+v", n, p)
			}
			k.tx.push(uint32(id), 0)
		}
	})
}

func TestNonsenseInTheSendQueueBreaksTheInstance(t *testing.T) {
	for _, c := range []struct {
		name   string
		kernel func(k *fake)
	}{
		{"more used than given", func(k *fake) { k.tx.done += 3; k.tx.show() }},
		{"used.idx goes back", func(k *fake) { k.tx.done--; k.tx.show() }},
		{"more used than given, in a full queue", func(k *fake) {
			for k.tx.size > uint16(k.filled()) {
				sendNow(k.instance, toKernel(0), nil, nil)
			}
			k.tx.done += k.tx.size + 1
			k.tx.show()
		}},
		{"a buffer that does not exist", func(k *fake) { k.tx.push(8, 0) }},
		{"a buffer with a huge number", func(k *fake) { k.tx.push(math.MaxUint32, 0) }},
		{"a number that is right in 16 bits", func(k *fake) { k.tx.push(1<<16, 0) }},
		{"a buffer that it does not have", func(k *fake) { k.tx.push(5, 0) }},
		{"a buffer twice", func(k *fake) { k.tx.push(0, 0); k.tx.push(0, 0) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, k := running(t, smallShape())
			sendNow(i, toKernel(0), nil, nil)
			sendNow(i, toKernel(1), []byte("x"), nil)
			c.kernel(k)
			for range 20 { // it is noticed, and nobody is told to wait
				if !sendNow(i, toKernel(2), nil, nil) {
					t.Fatal("Send has no room in a broken instance")
				}
			}
			if _, _, err := i.Receive(); !errors.Is(err, ErrBroken) {
				t.Errorf("Receive: %v, want %v", err, ErrBroken)
			}
		})
	}
}

func TestNoAllocationForAPacket(t *testing.T) {
	i, k := running(t, standardShape())
	payload := make([]byte, 4096)
	large := make([]byte, MaxPayload)
	var p packet
	if n := testing.AllocsPerRun(1000, func() {
		p = fromKernel(opRW)
		k.deliver(p, payload)
		h, b, err := i.Receive()
		if err != nil || len(b) != len(payload) {
			t.Fatal(err)
		}
		for !sendNow(i, h, large, nil) || !sendNow(i, h, nil, nil) {
			t.Fatal("no room")
		}
		for range 2 {
			id, _, _, _ := k.tx.pop()
			k.tx.push(uint32(id), 0)
		}
	}); n != 0 {
		t.Errorf("%v allocations for three packets", n)
	}
}

// sendMachine compares the queue with a list of packets. The kernel looks at packets
// in order, but may return them in any.
type sendMachine struct {
	instance *Instance
	kernel   *fake
	sent     []sentPacket // and not looked at
	looked   []uint16     // and not returned
	serial   int
}

type sentPacket struct {
	header  Header
	payload []byte
}

func (m *sendMachine) send(t *rapid.T) {
	size := rapid.OneOf(rapid.Just(0), rapid.IntRange(0, 100), rapid.IntRange(0, MaxPayload), rapid.Just(MaxPayload)).Draw(t, "size")
	cut := rapid.IntRange(0, size).Draw(t, "cut")
	m.serial++
	payload := patterned(size, byte(m.serial))
	h := toKernel(m.serial)
	if sendNow(m.instance, h, payload[:cut], payload[cut:]) {
		m.sent = append(m.sent, sentPacket{h, payload})
	} else if len(m.sent)+len(m.looked) == 0 {
		t.Fatalf("no room for %d bytes in an empty queue", size)
	}
}

func (m *sendMachine) look(t *rapid.T) {
	id, p, payload, ok := m.kernel.look()
	if !ok {
		if len(m.sent) != 0 {
			t.Fatalf("the kernel does not see %d packets", len(m.sent))
		}
		t.Skip()
	}
	if len(m.sent) == 0 || p.Header != m.sent[0].header || !bytes.Equal(payload, m.sent[0].payload) {
		t.Fatalf("the kernel sees %+v with %d bytes, want %+v", p, len(payload), m.sent)
	}
	m.sent = m.sent[1:]
	m.looked = append(m.looked, id)
}

func (m *sendMachine) giveBack(t *rapid.T) {
	if len(m.looked) == 0 {
		t.Skip()
	}
	n := rapid.IntRange(0, len(m.looked)-1).Draw(t, "which")
	m.kernel.tx.push(uint32(m.looked[n]), 0)
	m.looked = append(m.looked[:n], m.looked[n+1:]...)
}

func (m *sendMachine) check(t *rapid.T) {
	if err := m.instance.ended(); err != nil {
		t.Fatal(err)
	}
}

func TestTheSendQueueAgainstAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := smallShape()
		s.base = rapid.Uint16().Draw(t, "base")
		s.arena = rapid.SampledFrom([]int{80 << 10, 256 << 10, MaxPayload + headerPlace}).Draw(t, "arena")
		i, k := newFake(s)
		i.start()
		defer i.Close()
		m := &sendMachine{instance: i, kernel: k}
		t.Repeat(map[string]func(*rapid.T){"send": m.send, "look": m.look, "give back": m.giveBack, "": m.check})
		for len(m.sent) > 0 {
			m.look(t)
		}
	})
}

func TestSendAfterTheEndWaitsForNothingAndTouchesNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		full bool
	}{{"a full queue", true}, {"an empty queue", false}} {
		t.Run(c.name, func(t *testing.T) {
			m, err := sys.MapAnonymous(smallShape().layout().size, nil)
			if err != nil {
				t.Fatal(err)
			}
			i, _ := newFakeIn(smallShape(), m.Bytes())
			i.device.unmap = m.Unmap // whoever touches it then ends the test
			i.start()
			for c.full && sendNow(i, toKernel(0), nil, nil) {
			}
			if err := i.Close(); err != nil {
				t.Fatal(err)
			}
			<-i.Room()
			if !sendNow(i, toKernel(0), nil, nil) || !sendNow(i, toKernel(0), []byte("x"), nil) {
				t.Error("Send has no room in a closed instance")
			}
			if _, _, err := i.Receive(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("Receive: %v, want %v", err, os.ErrClosed)
			}
			if m.Bytes() != nil {
				t.Error("the memory is still mapped")
			}
		})
	}
}
