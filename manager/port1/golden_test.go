package port1

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
)

// message is any of the messages.
type message interface{ Append(b []byte) []byte }

// parse reads a message of any type.
func parse(b []byte) (message, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return nil, err
	}
	return parseAs(h.Type, b)
}

// parseAs reads b as a message of type t.
func parseAs(t Type, b []byte) (m message, err error) {
	switch t {
	case TypeHello:
		m, err = ParseHello(b)
	case TypePeer:
		m, err = ParsePeer(b)
	case TypePeerAck:
		m, err = ParsePeerAck(b)
	case TypeConnectReq:
		m, err = ParseConnectReq(b)
	case TypeConnectInd:
		m, err = ParseConnectInd(b)
	case TypeConnectAck:
		m, err = ParseConnectAck(b)
	case TypeConnectRsp:
		m, err = ParseConnectRsp(b)
	}
	return m, err
}

const id = 0x1122334455667788

var (
	uuid       = UUID{0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf}
	attachment = Attachment{0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf}
	terms      = Terms{Generation: 0x0102030405060708, Header: 9, Events: 21, Access: AccessMap}
)

const (
	uuidHex       = "c0c1c2c3c4c5c6c7 c8c9cacbcccdcecf"
	attachmentHex = "a0a1a2a3a4a5a6a7 a8a9aaabacadaeaf"
	idHex         = "8877665544332211"
	termsHex      = "0807060504030201 09000000 15000000 01 00000000000000"
	noTermsHex    = "0000000000000000 0000000000000000 0000000000000000"
)

// golden is every message as PROTOCOL has it: header, fixed part, entries.
var golden = []struct {
	name    string
	message message
	hex     string
}{
	{"hello without links", Hello{ID: id}, "18000000 0100 0100" + idHex + "00000000 00000000"},
	{
		"hello with a link", Hello{ID: id, Links: []Live{{uuid, attachment, 5}}},
		"40000000 0100 0100" + idHex + "01000000 00000000" + uuidHex + attachmentHex + "0500000000000000",
	},
	{
		"peer",
		Peer{
			ID: id, Domain: 3, UUID: uuid, Attachment: attachment, Name: "dbé", Access: AccessMap, Ring: 1 << 16,
			Out: []Range{{First: 7, Last: 7, Rule: 0xee, Conns: 64, Rate: 10}, {First: 7000, Last: 7010, Rule: 0xef}},
			In:  []Range{{First: 2, Last: anyPort - 1, Rule: 0xed}},
		},
		"08010000 0200 0100" + idHex + "0300 00 01 00000100" + uuidHex + attachmentHex +
			"6462c3a9" + strings.Repeat("00", 124) + "02000000 01000000" +
			"07000000 07000000 ee00000000000000 40000000 0a000000" +
			"581b0000 621b0000 ef00000000000000 00000000 00000000" +
			"02000000 feffffff ed00000000000000 00000000 00000000",
	},
	{
		"peer that is gone", Peer{ID: id, Domain: 3, Gone: true},
		"c0000000 0200 0100" + idHex + "0300 01 00 00000000" + strings.Repeat("00", 16+16+128+8),
	},
	{"peer ack", PeerAck{ID: id}, "10000000 0300 0100" + idHex},
	{
		"connect req", ConnectReq{ID: id, Domain: 3, Attachment: attachment, Port: 7000, Terms: terms},
		"40000000 0400 0100" + idHex + "0300 0000 581b0000" + attachmentHex + termsHex,
	},
	{
		"connect ind", ConnectInd{ID: id, Domain: 3, Attachment: attachment, Port: 7000, Terms: terms},
		"40000000 0500 0100" + idHex + "0300 0000 581b0000" + attachmentHex + termsHex,
	},
	{"connect ack", ConnectAck{ID: id, Terms: terms}, "30000000 0600 0100" + idHex + "00000000 00000000" + termsHex},
	{"connect ack that denies", ConnectAck{ID: id, Result: Denied}, "30000000 0600 0100" + idHex + "01000000 00000000" + noTermsHex},
	{"connect rsp", ConnectRsp{ID: id, Terms: terms}, "30000000 0700 0100" + idHex + "00000000 00000000" + termsHex},
	{"connect rsp of a crossing", ConnectRsp{ID: id, Result: Crossed}, "30000000 0700 0100" + idHex + "05000000 00000000" + noTermsHex},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenBytes(t *testing.T) {
	for _, c := range golden {
		t.Run(c.name, func(t *testing.T) {
			want := unhex(t, c.hex)
			if got := c.message.Append([]byte("before")); !bytes.Equal(got, append([]byte("before"), want...)) {
				t.Errorf("%+v appended is\n%x, want\n%x", c.message, got[6:], want)
			}
			got, err := parse(want)
			if err != nil || !reflect.DeepEqual(got, c.message) {
				t.Errorf("parsed is\n%+v, %v, want\n%+v", got, err, c.message)
			}
		})
	}
}

// What a parser returns stays what it is when the buffer is used again.
func TestParsedRefersToNothing(t *testing.T) {
	for _, c := range golden {
		b := unhex(t, c.hex)
		m, err := parse(b)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] = 0xff
		}
		if !reflect.DeepEqual(m, c.message) {
			t.Errorf("%s: became %+v", c.name, m)
		}
	}
}

// A message of one type is no message of another, whole and of the right length
// as it may be (rule R10).
func TestOtherTypesAreRefused(t *testing.T) {
	for _, c := range golden {
		b := unhex(t, c.hex)
		h, err := ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		for as := TypeHello; as <= TypeConnectRsp; as++ {
			if m, err := parseAs(as, b); (err == nil) != (as == h.Type) {
				t.Errorf("%s as a %v: %+v, %v", c.name, as, m, err)
			}
		}
	}
}

func TestParsersThatAllocateNothing(t *testing.T) {
	for _, c := range golden {
		b := unhex(t, c.hex)
		h, err := ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		var one func()
		switch h.Type {
		case TypePeerAck:
			one = func() { _, err = ParsePeerAck(b) }
		case TypeConnectReq:
			one = func() { _, err = ParseConnectReq(b) }
		case TypeConnectInd:
			one = func() { _, err = ParseConnectInd(b) }
		case TypeConnectAck:
			one = func() { _, err = ParseConnectAck(b) }
		case TypeConnectRsp:
			one = func() { _, err = ParseConnectRsp(b) }
		default:
			continue
		}
		if n := testing.AllocsPerRun(100, one); n != 0 || err != nil {
			t.Errorf("%s: %v allocations, %v", c.name, n, err)
		}
	}
}
