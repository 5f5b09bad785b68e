package port1

import (
	"encoding/binary"

	"xvsock/xen"
)

// PEER:
//
//	 16 domain u16    18 gone u8    19 access u8    20 ring u32
//	 24 uuid 16 bytes    40 attachment 16 bytes
//	 56 name 128 bytes, UTF-8, the rest zero
//	184 out u32    188 in u32
//	192 for each range, the outgoing ones first:
//	     0 first u32    4 last u32    8 rule u64    16 conns u32    20 rate u32
//
// gone and access are 0 or 1. The ranges of each way are in order of their ports
// and do not touch the same one twice. If gone is 1 everything behind it is zero
// and there are no ranges.
const (
	peerGone       = 18
	peerAccess     = 19
	peerRing       = 20
	peerUUID       = 24
	peerAttachment = 40
	peerName       = 56
	peerOut        = peerName + MaxName
	peerIn         = peerOut + 4
	peerSize       = peerIn + 4

	rangeSize = 24

	// A transmit ring is a power of two in these bounds (package ring).
	minRing = xen.PageSize
	maxRing = 1 << 20
)

// ParsePeer reads one whole PEER. An error is an *Error.
func ParsePeer(b []byte) (Peer, error) {
	h, err := parseWhole(b, TypePeer)
	if err != nil {
		return Peer{}, err
	}
	m := Peer{
		ID:         h.ID,
		Domain:     xen.DomID(binary.LittleEndian.Uint16(b[bodyOffset:])),
		Gone:       b[peerGone] == 1,
		Access:     Access(b[peerAccess]),
		Ring:       binary.LittleEndian.Uint32(b[peerRing:]),
		UUID:       UUID(b[peerUUID:peerAttachment]),
		Attachment: Attachment(b[peerAttachment:peerName]),
	}
	switch {
	case !m.Domain.Valid():
		return Peer{}, &Error{TypePeer, "domain", uint64(m.Domain), "not the id of a domain"}
	case b[peerGone] > 1:
		return Peer{}, &Error{TypePeer, "gone", uint64(b[peerGone]), "neither 0 nor 1"}
	case m.Gone:
		return parseGone(m, b)
	case m.Access > AccessMap:
		return Peer{}, &Error{TypePeer, "access", uint64(m.Access), "no such access"}
	case m.Ring != 0 && (m.Ring < minRing || m.Ring > maxRing || m.Ring&(m.Ring-1) != 0):
		return Peer{}, &Error{TypePeer, "ring", uint64(m.Ring), "not 0 and not a power of two from 4 KiB to 1 MiB"}
	}
	if m.Name, err = parseName(b[peerName:peerOut]); err != nil {
		return Peer{}, err
	}
	if err := m.parseRanges(b); err != nil {
		return Peer{}, err
	}
	return m, nil
}

// parseGone checks that nothing more is said of a domain that is gone.
func parseGone(m Peer, b []byte) (Peer, error) {
	if err := checkZero(TypePeer, "peer that is gone", b[peerAccess:]); err != nil {
		return Peer{}, err
	}
	return Peer{ID: m.ID, Domain: m.Domain, Gone: true}, nil
}

// parseRanges reads both lists of ranges.
func (m *Peer) parseRanges(b []byte) error {
	out, in := binary.LittleEndian.Uint32(b[peerOut:]), binary.LittleEndian.Uint32(b[peerIn:])
	list := b[peerSize:]
	switch {
	case out > MaxRanges:
		return &Error{TypePeer, "out", uint64(out), "too many ranges"}
	case in > MaxRanges:
		return &Error{TypePeer, "in", uint64(in), "too many ranges"}
	case int(out+in)*rangeSize != len(list):
		return &Error{TypePeer, "out and in", uint64(out) + uint64(in), "not as many ranges as the message is long"}
	}
	var err error
	if m.Out, err = parseRanges("out", list[:out*rangeSize]); err != nil {
		return err
	}
	m.In, err = parseRanges("in", list[out*rangeSize:])
	return err
}

func parseRanges(field string, b []byte) ([]Range, error) {
	if len(b) == 0 {
		return nil, nil
	}
	ranges := make([]Range, 0, len(b)/rangeSize)
	last := uint32(0)
	for ; len(b) > 0; b = b[rangeSize:] {
		r := Range{
			First: binary.LittleEndian.Uint32(b),
			Last:  binary.LittleEndian.Uint32(b[4:]),
			Rule:  binary.LittleEndian.Uint64(b[8:]),
			Conns: binary.LittleEndian.Uint32(b[16:]),
			Rate:  binary.LittleEndian.Uint32(b[20:]),
		}
		// Port 0 is never behind last.
		if r.First <= last {
			return nil, &Error{TypePeer, field, uint64(r.First), "first port is none, or not behind the range before"}
		}
		if r.Last < r.First || r.Last == anyPort {
			return nil, &Error{TypePeer, field, uint64(r.Last), "last port is none, or before the first"}
		}
		last = r.Last
		ranges = append(ranges, r)
	}
	return ranges, nil
}

// Append appends the message to b. What cannot be in it is left out: everything
// but the domain if it is gone, ranges beyond MaxRanges, which so are not
// allowed, and the end of a name beyond MaxName; a question mark stands for what
// is not printable in the name. The ranges must be in order.
func (m Peer) Append(b []byte) []byte {
	if m.Gone {
		m = Peer{ID: m.ID, Domain: m.Domain, Gone: true}
	}
	out, in := m.Out[:min(len(m.Out), MaxRanges)], m.In[:min(len(m.In), MaxRanges)]
	b = appendHeader(b, TypePeer, peerSize+(len(out)+len(in))*rangeSize, m.ID)
	b = binary.LittleEndian.AppendUint16(b, uint16(m.Domain))
	gone := byte(0)
	if m.Gone {
		gone = 1
	}
	b = append(b, gone, byte(m.Access))
	b = binary.LittleEndian.AppendUint32(b, m.Ring)
	b = append(b, m.UUID[:]...)
	b = append(b, m.Attachment[:]...)
	b = appendName(b, m.Name)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(out)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(in)))
	return appendRanges(appendRanges(b, out), in)
}

func appendRanges(b []byte, ranges []Range) []byte {
	for _, r := range ranges {
		b = binary.LittleEndian.AppendUint32(b, r.First)
		b = binary.LittleEndian.AppendUint32(b, r.Last)
		b = binary.LittleEndian.AppendUint64(b, r.Rule)
		b = binary.LittleEndian.AppendUint32(b, r.Conns)
		b = binary.LittleEndian.AppendUint32(b, r.Rate)
	}
	return b
}

// ParsePeerAck reads one whole PEER_ack. An error is an *Error.
func ParsePeerAck(b []byte) (PeerAck, error) {
	h, err := parseWhole(b, TypePeerAck)
	return PeerAck{ID: h.ID}, err
}

// Append appends the message to b.
func (m PeerAck) Append(b []byte) []byte { return appendHeader(b, TypePeerAck, HeaderSize, m.ID) }
