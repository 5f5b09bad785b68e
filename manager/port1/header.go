package port1

import "encoding/binary"

// The header of every message:
//
//	0 length u32    4 type u16    6 version u16    8 id u64
//
// length is of the whole message and counts these 16 bytes. PEER_ack is nothing
// else.
const (
	typeOffset    = 4
	versionOffset = 6
	idOffset      = 8
	bodyOffset    = HeaderSize

	// anyPort is VMADDR_PORT_ANY (linux/vm_sockets.h). Like 0 it names no port.
	anyPort = 0xFFFFFFFF
)

// ParseHeader reads the header that b begins with. The length that it returns is
// one that a message of this type can have, at most MaxSize (rule R11), so that
// it may be waited for. An error is an *Error.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, &Error{0, "header", uint64(len(b)), "bytes are too few"}
	}
	h := Header{
		Length: binary.LittleEndian.Uint32(b),
		Type:   Type(binary.LittleEndian.Uint16(b[typeOffset:])),
		ID:     binary.LittleEndian.Uint64(b[idOffset:]),
	}
	if h.Type < TypeHello || h.Type > TypeConnectRsp {
		return Header{}, &Error{h.Type, "type", uint64(h.Type), "no such message"}
	}
	if v := binary.LittleEndian.Uint16(b[versionOffset:]); v != Version {
		return Header{}, &Error{h.Type, "version", uint64(v), "not a version known here"}
	}
	if !h.lengthPossible() {
		return Header{}, &Error{h.Type, "length", uint64(h.Length), "no such message is that long"}
	}
	return h, nil
}

// lengthPossible reports whether a message of the type can have the length. Every
// length that it allows is a multiple of 8 from HeaderSize to MaxSize.
func (h Header) lengthPossible() bool {
	switch h.Type {
	case TypeHello:
		return h.lists(helloSize, liveSize, MaxLinks)
	case TypePeer:
		return h.lists(peerSize, rangeSize, 2*MaxRanges)
	case TypePeerAck:
		return h.Length == HeaderSize
	case TypeConnectReq, TypeConnectInd:
		return h.Length == requestSize
	default: // TypeConnectAck, TypeConnectRsp
		return h.Length == answerSize
	}
}

// lists reports whether the length is that of a fixed part and most entries, or
// fewer.
func (h Header) lists(fixed, entry, most uint32) bool {
	return h.Length >= fixed && h.Length <= fixed+most*entry && (h.Length-fixed)%entry == 0
}

// parseWhole reads the header of b, which must be one whole message of type t.
func parseWhole(b []byte, t Type) (Header, error) {
	h, err := ParseHeader(b)
	switch {
	case err != nil:
		return Header{}, err
	case h.Type != t:
		return Header{}, &Error{h.Type, "type", uint64(h.Type), "another message is due"}
	case uint64(h.Length) != uint64(len(b)):
		return Header{}, &Error{t, "length", uint64(h.Length), "not the bytes that came"}
	}
	return h, nil
}

// appendHeader appends the header of a message.
func appendHeader(b []byte, t Type, length int, id uint64) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(length))
	b = binary.LittleEndian.AppendUint16(b, uint16(t))
	b = binary.LittleEndian.AppendUint16(b, Version)
	return binary.LittleEndian.AppendUint64(b, id)
}

// checkZero refuses reserved bytes that say something.
func checkZero(t Type, field string, b []byte) error {
	for _, v := range b {
		if v != 0 {
			return &Error{t, field, uint64(v), "must be zero"}
		}
	}
	return nil
}
