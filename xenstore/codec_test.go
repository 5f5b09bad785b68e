package xenstore_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"xvsock/xenstore"
)

func TestMessageOnTheWire(t *testing.T) {
	got := xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpWrite, RequestID: 0x01020304, TransactionID: 0xA0B0C0D0},
		[]byte("path\x00value"))
	wire := []byte("\x0b\x00\x00\x00\x04\x03\x02\x01\xd0\xc0\xb0\xa0\x0a\x00\x00\x00path\x00value")
	if !bytes.Equal(got, wire) {
		t.Fatalf("message is\n%x, want\n%x", got, wire)
	}
	h, err := xenstore.ParseHeader(wire)
	if err != nil || h != (xenstore.Header{Op: 11, RequestID: 0x01020304, TransactionID: 0xA0B0C0D0, Length: 10}) {
		t.Fatalf("header is %+v, %v", h, err)
	}
}

func TestHeaderLength(t *testing.T) {
	for length, ok := range map[uint32]bool{0: true, 4096: true, 4097: false, 1 << 31: false, 1<<32 - 1: false} {
		b := make([]byte, xenstore.HeaderSize)
		for i := range 4 {
			b[12+i] = byte(length >> (8 * i))
		}
		if _, err := xenstore.ParseHeader(b); (err == nil) != ok || err != nil && !errors.Is(err, xenstore.ErrProtocol) {
			t.Errorf("length %d: %v", length, err)
		}
	}
}

func TestStrings(t *testing.T) {
	for _, c := range []struct {
		wire string
		text []string
		ok   bool
	}{
		{"", nil, true},
		{"\x00", []string{""}, true},
		{"a\x00b\x00", []string{"a", "b"}, true},
		{"a\x00\x00", []string{"a", ""}, true},
		{"a\x00b", nil, false},
	} {
		got, err := xenstore.SplitStrings([]byte(c.wire))
		if !slices.Equal(got, c.text) || (err == nil) != c.ok {
			t.Errorf("%q is %q, %v", c.wire, got, err)
		}
	}
}

func TestPermissionText(t *testing.T) {
	for _, text := range []string{"n0", "r7", "w65535", "b1"} {
		p, err := xenstore.ParsePermission(text)
		if err != nil || p.String() != text {
			t.Errorf("%s is %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "r", "x1", "r-1", "r+1", "r01", "r 1", "r65536", "r1 ", "R1"} {
		if p, err := xenstore.ParsePermission(text); !errors.Is(err, xenstore.ErrProtocol) {
			t.Errorf("%q is %v, %v", text, p, err)
		}
	}
}

func FuzzPermission(f *testing.F) {
	f.Add("b17")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := xenstore.ParsePermission(text)
		if err == nil && p.String() != text {
			t.Fatalf("%q became %q", text, p)
		}
	})
}

func FuzzStrings(f *testing.F) {
	f.Add([]byte("a\x00\x00b\x00"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		text, err := xenstore.SplitStrings(wire)
		if err == nil && !bytes.Equal(xenstore.AppendStrings(nil, text...), wire) {
			t.Fatalf("%q became %q", wire, text)
		}
	})
}
