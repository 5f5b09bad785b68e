package mux

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// The bytes of a frame header, as PROTOCOL has them.
func TestHeaderLayout(t *testing.T) {
	h := header{
		src: 0x04030201, dst: 0x08070605, size: 0x0c0b0a09, typ: 0x0e0d, op: 0x100f,
		flags: 0x14131211, bufAlloc: 0x18171615, fwdCnt: 0x1c1b1a19, seq: 0x201f1e1d,
	}
	var b [headerSize]byte
	h.encode(&b)
	for i, x := range b {
		if int(x) != i+1 {
			t.Fatalf("byte %d is %d, want %d", i, x, i+1)
		}
	}
	if got := decodeHeader(&b); got != h {
		t.Errorf("decoded %+v, want %+v", got, h)
	}
}

// R11: a length is tried at every edge.
func TestLengthEdges(t *testing.T) {
	const most = 16 << 10
	for _, test := range []struct {
		size uint32
		ok   bool
	}{
		{0, true}, {1, true}, {headerSize - 1, true}, {headerSize, true}, {headerSize + 1, true},
		{most - 1, true}, {most, true}, {most + 1, false}, {1 << 31, false}, {1<<32 - 1, false},
	} {
		h := header{typ: typeStream, op: opData, size: test.size}
		if err := h.check(most, 0); (err == nil) != test.ok {
			t.Errorf("len %d: %v", test.size, err)
		}
		h.op = opShutdown
		if err := h.check(most, 0); (err == nil) != (test.size == 0) {
			t.Errorf("len %d of SHUTDOWN: %v", test.size, err)
		}
	}
}

func TestFrameSize(t *testing.T) {
	for n, want := range map[int]int{0: 32, 1: 40, 7: 40, 8: 40, 9: 48, 64: 96, 65536: 65568} {
		if got := frameSize(n); got != want {
			t.Errorf("frameSize(%d) = %d, want %d", n, got, want)
		}
	}
}

// What scatter puts into two pieces, gather and cut find again.
func TestPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		na := rapid.IntRange(0, 50).Draw(t, "first")
		nb := rapid.IntRange(0, 50).Draw(t, "second")
		at := rapid.IntRange(0, na+nb).Draw(t, "at")
		src := rapid.SliceOfN(rapid.Byte(), 0, na+nb-at).Draw(t, "bytes")
		a, b := make([]byte, na), make([]byte, nb)
		scatter(a, b, at, src)
		whole := append(bytes.Clone(a), b...)
		want := make([]byte, na+nb)
		copy(want[at:], src)
		if !bytes.Equal(whole, want) {
			t.Fatalf("scatter: %v, want %v", whole, want)
		}
		got := make([]byte, len(src))
		gather(got, a, b, at)
		if !bytes.Equal(got, src) {
			t.Fatalf("gather: %v, want %v", got, src)
		}
		x, y := cut(a, b, at, len(src))
		if !bytes.Equal(append(bytes.Clone(x), y...), src) {
			t.Fatalf("cut: %v and %v, want %v", x, y, src)
		}
	})
}

// FuzzHeader: a header that passes the check survives encoding, fits the link,
// and holds nothing that the session does not know.
func FuzzHeader(f *testing.F) {
	seed := header{src: 1, dst: 2, size: 3, typ: typeStream, op: opData}
	var b [headerSize]byte
	seed.encode(&b)
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, data []byte) {
		var raw, again [headerSize]byte
		copy(raw[:], data)
		h := decodeHeader(&raw)
		h.encode(&again)
		if raw != again {
			t.Fatalf("%x became %x", raw, again)
		}
		if err := h.check(1024, h.seq); err != nil {
			_ = err.Error()
			return
		}
		if h.size > 1024 || h.op < opRequest || h.op > opCreditRequest || h.op != opData && h.size != 0 ||
			h.op == opReset && Reason(h.flags) > lastReason {
			t.Errorf("passed: %+v", h)
		}
	})
}
