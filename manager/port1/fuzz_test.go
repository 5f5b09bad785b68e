package port1

import (
	"bytes"
	"errors"
	"testing"
)

// fuzz lets anything be parsed as a message of type t. It is refused with an
// *Error, or is a message, and that appended again is the same bytes.
func fuzz[M message](f *testing.F, t Type, parse func([]byte) (M, error)) {
	for _, c := range golden {
		f.Add(unhex(f, c.hex)[HeaderSize:], uint64(id))
	}
	f.Fuzz(func(test *testing.T, body []byte, id uint64) {
		// A true header, or nearly everything would end there.
		b := append(appendHeader(nil, t, HeaderSize+len(body), id), body...)
		m, err := parse(b)
		if err != nil {
			var lie *Error
			if !errors.As(err, &lie) || lie.Type != t {
				test.Errorf("%x: %v", b, err)
			}
			return
		}
		if again := m.Append(nil); !bytes.Equal(again, b) {
			test.Errorf("%x\nparsed is %+v, and that again\n%x", b, m, again)
		}
	})
}

func FuzzHello(f *testing.F)      { fuzz(f, TypeHello, ParseHello) }
func FuzzPeer(f *testing.F)       { fuzz(f, TypePeer, ParsePeer) }
func FuzzPeerAck(f *testing.F)    { fuzz(f, TypePeerAck, ParsePeerAck) }
func FuzzConnectReq(f *testing.F) { fuzz(f, TypeConnectReq, ParseConnectReq) }
func FuzzConnectInd(f *testing.F) { fuzz(f, TypeConnectInd, ParseConnectInd) }
func FuzzConnectAck(f *testing.F) { fuzz(f, TypeConnectAck, ParseConnectAck) }
func FuzzConnectRsp(f *testing.F) { fuzz(f, TypeConnectRsp, ParseConnectRsp) }

// FuzzHeader: any bytes at all. A header that is accepted has a length that may be
// waited for, and says what its bytes say.
func FuzzHeader(f *testing.F) {
	for _, c := range golden {
		f.Add(unhex(f, c.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			return
		}
		if h.Length < HeaderSize || h.Length > MaxSize || h.Length%8 != 0 {
			t.Errorf("%x has length %d", b, h.Length)
		}
		if again := appendHeader(nil, h.Type, int(h.Length), h.ID); !bytes.Equal(again, b[:HeaderSize]) {
			t.Errorf("%x is %+v, and that again %x", b, h, again)
		}
		if m, err := parse(b); err == nil && !bytes.Equal(m.Append(nil), b) {
			t.Errorf("%x is %+v, and that again %x", b, m, m.Append(nil))
		}
	})
}
