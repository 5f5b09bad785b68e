package port1

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"xvsock/ring"
)

// R11: a length is tried at every edge, in a message that has it and in one that
// does not.
func TestLengthEdges(t *testing.T) {
	fits := map[Type][]uint32{
		TypeHello:   {24, 24 + 40, 24 + MaxLinks*40},
		TypePeer:    {192, 192 + 24, 192 + 2*MaxRanges*24},
		TypePeerAck: {16}, TypeConnectReq: {64}, TypeConnectInd: {64}, TypeConnectAck: {48}, TypeConnectRsp: {48},
	}
	for typ, lengths := range fits {
		edges := []uint32{
			0, 1, HeaderSize - 1, HeaderSize, HeaderSize + 1, HeaderSize + 8,
			MaxSize - 1, MaxSize, MaxSize + 1, MaxSize + 8, 1 << 31, 1<<32 - 8, 1<<32 - 1,
		}
		ok := make(map[uint32]bool)
		for _, n := range lengths {
			ok[n] = true
			edges = append(edges, n-8, n-1, n, n+1, n+8)
		}
		edges = append(edges, lengths[len(lengths)-1]+40, lengths[len(lengths)-1]+24)
		for _, n := range edges {
			b := PeerAck{ID: 1}.Append(nil)
			binary.LittleEndian.PutUint32(b, n)
			binary.LittleEndian.PutUint16(b[typeOffset:], uint16(typ))
			h, err := ParseHeader(b)
			if (err == nil) != ok[n] {
				t.Errorf("%v of %d bytes: %v", typ, n, err)
			}
			if err == nil && (h.Length > MaxSize || h.Length%8 != 0) {
				t.Errorf("%v of %d bytes is accepted", typ, n)
			}
			for _, have := range []uint32{n - 8, n - 1, n, n + 1, n + 8} {
				if have == n && n != HeaderSize || have < HeaderSize || have > 2*MaxSize {
					continue // bodies are for the other tests
				}
				whole := append(b, make([]byte, have-HeaderSize)...)
				if m, err := parseAs(typ, whole); (err == nil) != (ok[n] && have == n) {
					t.Errorf("%v that says %d bytes and has %d: %+v, %v", typ, n, have, m, err)
				}
			}
		}
	}
	for n := range HeaderSize {
		if h, err := ParseHeader(make([]byte, n)); err == nil {
			t.Errorf("%d bytes are a header: %+v", n, h)
		}
	}
}

// The longest messages fit.
func TestLongestMessages(t *testing.T) {
	hello := Hello{Links: make([]Live, MaxLinks)}
	for i := range hello.Links {
		hello.Links[i].Attachment[0] = byte(i)
	}
	peer := Peer{Name: strings.Repeat("x", MaxName)}
	for i := range uint32(MaxRanges) {
		peer.Out = append(peer.Out, Range{First: 2*i + 1, Last: 2*i + 1})
	}
	peer.In = peer.Out
	for _, m := range []message{hello, peer} {
		b := m.Append(nil)
		if got, err := parse(b); err != nil || len(b) > MaxSize {
			t.Errorf("%d bytes: %v, %v", len(b), got, err)
		}
	}
	if minRing != ring.MinSize || maxRing != ring.MaxSize {
		t.Errorf("a ring is from %d to %d bytes, want those of package ring: %d to %d", minRing, maxRing, ring.MinSize, ring.MaxSize)
	}
}

// goldenBytes is the message of that name in golden.
func goldenBytes(t *testing.T, name string) []byte {
	t.Helper()
	for _, c := range golden {
		if c.name == name {
			return unhex(t, c.hex)
		}
	}
	t.Fatalf("no golden message %q", name)
	return nil
}

func TestLiesAreRefused(t *testing.T) {
	put16, put32 := binary.LittleEndian.PutUint16, binary.LittleEndian.PutUint32
	for _, c := range []struct {
		name    string
		message string // of golden
		lie     func(b []byte)
		field   string
	}{
		{"type 0", "peer ack", func(b []byte) { put16(b[4:], 0) }, "type"},
		{"a type behind the last", "peer ack", func(b []byte) { put16(b[4:], 8) }, "type"},
		{"version 0", "peer ack", func(b []byte) { put16(b[6:], 0) }, "version"},
		{"version 2", "peer ack", func(b []byte) { put16(b[6:], 2) }, "version"},

		{"more links than come", "hello with a link", func(b []byte) { put32(b[16:], 2) }, "links"},
		{"fewer links than come", "hello with a link", func(b []byte) { put32(b[16:], 0) }, "links"},
		{"so many links that the product wraps", "hello with a link", func(b []byte) { put32(b[16:], 1+1<<29) }, "links"},
		{"something reserved in hello", "hello with a link", func(b []byte) { b[23] = 1 }, "zero"},

		{"a domain that is none in a peer", "peer", func(b []byte) { put16(b[16:], 0x7ff0) }, "domain"},
		{"gone 2", "peer", func(b []byte) { b[18] = 2 }, "gone"},
		{"access 2 in a peer", "peer", func(b []byte) { b[19] = 2 }, "access"},
		{"a ring below a page", "peer", func(b []byte) { put32(b[20:], 2048) }, "ring"},
		{"a ring of no power of two", "peer", func(b []byte) { put32(b[20:], 3<<12) }, "ring"},
		{"a ring beyond the largest", "peer", func(b []byte) { put32(b[20:], 1<<21) }, "ring"},
		{"a control character in the name", "peer", func(b []byte) { b[57] = 0x1b }, "name"},
		{"a newline in the name", "peer", func(b []byte) { b[57] = '\n' }, "name"},
		{"half a character at the end of the name", "peer", func(b []byte) { b[59] = 0 }, "name"},
		{"a name that goes on behind its end", "peer", func(b []byte) { b[183] = 'x' }, "name"},
		{"a character that turns the text around", "peer", func(b []byte) { copy(b[56:], "\u202e") }, "name"},
		{"more ranges out than come", "peer", func(b []byte) { put32(b[184:], 3) }, "out and in"},
		{"fewer ranges in than come", "peer", func(b []byte) { put32(b[188:], 0) }, "out and in"},
		{"too many ranges out", "peer", func(b []byte) { put32(b[184:], MaxRanges+1) }, "out"},
		{"too many ranges in", "peer", func(b []byte) { put32(b[188:], MaxRanges+1) }, "in"},
		{"so many ranges that the sum wraps", "peer", func(b []byte) { put32(b[184:], 1<<31+2); put32(b[188:], 1<<31+1) }, "out"},
		{"port 0 in a range", "peer", func(b []byte) { put32(b[192:], 0) }, "out"},
		{"the port that is any in a range", "peer", func(b []byte) { put32(b[192+2*24+4:], anyPort) }, "in"},
		{"a range that ends before it begins", "peer", func(b []byte) { put32(b[196:], 6) }, "out"},
		{"a range that begins in the one before", "peer", func(b []byte) { put32(b[196:], 7000) }, "out"},
		{"ranges out of order", "peer", func(b []byte) { put32(b[192+24:], 5) }, "out"},

		{"a domain gone with access", "peer that is gone", func(b []byte) { b[19] = 1 }, "peer that is gone"},
		{"a domain gone with a ring", "peer that is gone", func(b []byte) { b[20] = 1 }, "peer that is gone"},
		{"a domain gone with a uuid", "peer that is gone", func(b []byte) { b[24] = 1 }, "peer that is gone"},
		{"a domain gone with an attachment", "peer that is gone", func(b []byte) { b[55] = 1 }, "peer that is gone"},
		{"a domain gone with a name", "peer that is gone", func(b []byte) { b[56] = 'x' }, "peer that is gone"},
		{"a domain gone with ranges", "peer", func(b []byte) { b[18] = 1; clear(b[19:184]) }, "peer that is gone"},

		{"a domain that is none in a request", "connect req", func(b []byte) { put16(b[16:], 0xffff) }, "domain"},
		{"something reserved in a request", "connect req", func(b []byte) { b[19] = 1 }, "zero"},
		{"port 0 in a request", "connect req", func(b []byte) { put32(b[20:], 0) }, "port"},
		{"the port that is any in an indication", "connect ind", func(b []byte) { put32(b[20:], anyPort) }, "port"},
		{"access 2 in a request", "connect req", func(b []byte) { b[40+16] = 2 }, "access"},
		{"something reserved in the terms of a request", "connect req", func(b []byte) { b[63] = 1 }, "zero of the terms"},

		{"a result behind the last", "connect rsp", func(b []byte) { put32(b[16:], uint32(ShuttingDown)+1) }, "result"},
		{"something reserved in an answer", "connect rsp", func(b []byte) { b[23] = 1 }, "zero"},
		{"access 2 in an answer", "connect ack", func(b []byte) { b[24+16] = 2 }, "access"},
		{"something reserved in the terms of an answer", "connect ack", func(b []byte) { b[24+17] = 1 }, "zero of the terms"},
		{"terms of a denial", "connect ack", func(b []byte) { put32(b[16:], uint32(Denied)) }, "terms"},
		{"terms of a crossing", "connect rsp", func(b []byte) { put32(b[16:], uint32(Crossed)) }, "terms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := goldenBytes(t, c.message)
			c.lie(b)
			m, err := parse(b)
			var lie *Error
			if !errors.As(err, &lie) || lie.Field != c.field {
				t.Errorf("parsed to %+v, %v; want an error of %q", m, err, c.field)
			}
		})
	}
}

// A frontend has at most one link to a domain, and a domain without a uuid is
// known by its attachment.
func TestHelloNamesADomainOnce(t *testing.T) {
	a, b := Live{Attachment: Attachment{1}, Generation: 1}, Live{Attachment: Attachment{2}, Generation: 2}
	c := Live{UUID: uuid, Attachment: Attachment{1}, Generation: 3}
	if _, err := ParseHello(Hello{Links: []Live{a, b, c}}.Append(nil)); err != nil {
		t.Errorf("three domains: %v", err)
	}
	again := a
	again.Generation++
	if m, err := ParseHello(Hello{Links: []Live{a, b, c, again}}.Append(nil)); err == nil {
		t.Errorf("the same domain twice: %+v", m)
	}
}

// A responder answers for itself, not for the manager.
func TestResultsOfAResponder(t *testing.T) {
	may := map[Result]bool{OK: true, Denied: true, Refused: true, Forbidden: true, ShuttingDown: true}
	for r := OK; r <= lastResult+1; r++ {
		if m, err := ParseConnectAck(ConnectAck{Result: r}.Append(nil)); (err == nil) != may[r] {
			t.Errorf("connect ack %v: %+v, %v", r, m, err)
		}
		if m, err := ParseConnectRsp(ConnectRsp{Result: r}.Append(nil)); (err == nil) != (r <= lastResult) {
			t.Errorf("connect rsp %v: %+v, %v", r, m, err)
		}
	}
}

// Whatever a name is, what is appended can be parsed.
func TestNamesAreMadePrintable(t *testing.T) {
	for name, want := range map[string]string{
		"":                                   "",
		"web-1":                              "web-1",
		"a b":                                "a b",
		"red\x1b[31m":                        "red?[31m",
		"a\x00b":                             "a?b",
		"\xff\xfe":                           "??",
		"\u202eabc":                          "?abc",
		"\ufffd":                             "\ufffd",
		strings.Repeat("x", MaxName+1):       strings.Repeat("x", MaxName),
		strings.Repeat("x", MaxName-1) + "é": strings.Repeat("x", MaxName-1),
		strings.Repeat("é", MaxName):         strings.Repeat("é", MaxName/2),
	} {
		m, err := ParsePeer(Peer{Name: name}.Append(nil))
		if err != nil || m.Name != want {
			t.Errorf("%q came as %q, %v, want %q", name, m.Name, err, want)
		}
	}
}

// What is too much for a message is left out of it, so that less is allowed or
// claimed, never more.
func TestAppendLeavesOut(t *testing.T) {
	many := make([]Range, MaxRanges+1)
	for i := range many {
		many[i] = Range{First: uint32(i + 1), Last: uint32(i + 1)}
	}
	p, err := ParsePeer(Peer{Out: many, In: many}.Append(nil))
	if err != nil || len(p.Out) != MaxRanges || len(p.In) != MaxRanges {
		t.Errorf("%d ranges out, %d in, %v; want %d", len(p.Out), len(p.In), err, MaxRanges)
	}
	links := make([]Live, MaxLinks+1)
	for i := range links {
		links[i].Attachment = Attachment{byte(i), byte(i >> 8)}
	}
	h, err := ParseHello(Hello{Links: links}.Append(nil))
	if err != nil || len(h.Links) != MaxLinks {
		t.Errorf("%d links, %v, want %d", len(h.Links), err, MaxLinks)
	}
	gone := Peer{ID: 1, Domain: 2, Gone: true, Name: "x", Ring: 1, Out: many, Access: AccessMap}
	if p, err := ParsePeer(gone.Append(nil)); err != nil || !p.Gone || p.ID != 1 || p.Domain != 2 {
		t.Errorf("a peer that is gone came as %+v, %v", p, err)
	}
	denied := ConnectRsp{Result: Denied, Terms: terms}
	if r, err := ParseConnectRsp(denied.Append(nil)); err != nil || r.Terms != (Terms{}) {
		t.Errorf("a denial came as %+v, %v", r, err)
	}
}

func TestWords(t *testing.T) {
	var words []string
	for typ := TypeHello; typ <= TypeConnectRsp+1; typ++ {
		words = append(words, typ.String())
	}
	for r := OK; r <= lastResult+1; r++ {
		words = append(words, r.String())
	}
	const want = "hello, peer, peer ack, connect req, connect ind, connect ack, connect rsp, type 8, " +
		"ok, denied, unreachable, over budget, timed out, crossed, refused, forbidden, shutting down, result 9"
	if got := strings.Join(words, ", "); got != want {
		t.Errorf("words are %s, want %s", got, want)
	}
	err := fmt.Errorf("%w", &Error{TypePeer, "gone", 2, "neither 0 nor 1"})
	if got := err.Error(); got != "port 1: gone of peer is 0x2: neither 0 nor 1" {
		t.Errorf("error says %s", got)
	}
}
