package vhost

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
)

// hostileEvent says that the test has nothing more, where an instance would wait.
type hostileEvent struct{ *fakeEvent }

var errNothingMore = errors.New("nothing more")

func (hostileEvent) Wait() error { return errNothingMore }

// FuzzKernel lets the kernel's side of the memory be anything: a number writes a word
// of it, as the kernel could, between the calls of the instance. What it reads must
// end the instance or be a packet within its buffer.
func FuzzKernel(f *testing.F) {
	s := smallShape()
	used := uint32(s.layout().rx.used.offset)
	write := func(at, value uint32) []byte {
		return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, at), value)
	}
	f.Add([]byte{})
	f.Add(write(used, uint32(s.base+1)<<16))
	f.Add(append(write(used+4+8*2+4, headerSize), write(used, uint32(s.base+1)<<16)...))
	f.Add(append(write(uint32(s.layout().tx.used.offset)+4+8*2, 0), write(uint32(s.layout().tx.used.offset), uint32(s.base+1)<<16)...))
	f.Add(write(uint32(s.layout().tx.used.offset), 0xFFFF0001))
	f.Fuzz(func(t *testing.T, writes []byte) {
		i, k := newFake(s)
		i.device.rxCall = hostileEvent{k.rxCall}
		for ; len(writes) >= 8; writes = writes[8:] {
			at := binary.LittleEndian.Uint32(writes) % uint32(len(k.memory)-3) &^ 3
			store(k.memory, int(at), binary.LittleEndian.Uint32(writes[4:]))
			sendNow(i, toKernel(1), []byte("payload"), nil)
			for range 2 * s.buffers {
				h, payload, err := i.Receive()
				if err != nil {
					break
				}
				if len(payload) > s.bufferSize-headerSize || h.Op < opRequest || h.Op > opCreditRequest || len(payload) > 0 && h.Op != opRW {
					t.Fatalf("received %+v with %d bytes", h, len(payload))
				}
			}
			if cause := i.ended(); errors.Is(cause, errNothingMore) {
				i.cause.Store(nil) // the kernel goes on
			} else if !errors.Is(cause, ErrBroken) {
				t.Fatalf("ended with %v", cause)
			}
		}
		if err := i.Close(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := i.Receive(); !errors.Is(err, os.ErrClosed) && !errors.Is(err, ErrBroken) {
			t.Fatal(err)
		}
		if k.unmapped() != 1 {
			t.Fatalf("unmapped %d times", k.unmapped())
		}
	})
}
