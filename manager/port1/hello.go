package port1

import "encoding/binary"

// HELLO:
//
//	16 links u32    20 zero u32
//	24 for each link:
//	    0 uuid 16 bytes    16 attachment 16 bytes    32 generation u64
//
// No two links have the same uuid and attachment: a frontend has at most one link
// to a domain.
const (
	helloZero = 20
	helloSize = 24

	liveSize       = 40
	liveAttachment = 16
	liveGeneration = 32
)

// ParseHello reads one whole HELLO. An error is an *Error.
func ParseHello(b []byte) (Hello, error) {
	h, err := parseWhole(b, TypeHello)
	if err != nil {
		return Hello{}, err
	}
	if err := checkZero(TypeHello, "zero", b[helloZero:helloSize]); err != nil {
		return Hello{}, err
	}
	n, list := binary.LittleEndian.Uint32(b[bodyOffset:]), b[helloSize:]
	if uint64(n)*liveSize != uint64(len(list)) {
		return Hello{}, &Error{TypeHello, "links", uint64(n), "not as many as the message is long"}
	}
	m := Hello{ID: h.ID}
	if n > 0 {
		m.Links = make([]Live, n)
	}
	for i := range m.Links {
		m.Links[i] = parseLive(list[i*liveSize:])
		for j := range i {
			if m.Links[i].UUID == m.Links[j].UUID && m.Links[i].Attachment == m.Links[j].Attachment {
				return Hello{}, &Error{TypeHello, "links", uint64(i), "the same domain twice"}
			}
		}
	}
	return m, nil
}

func parseLive(b []byte) Live {
	return Live{
		UUID:       UUID(b[:liveAttachment]),
		Attachment: Attachment(b[liveAttachment:liveGeneration]),
		Generation: binary.LittleEndian.Uint64(b[liveGeneration:]),
	}
}

// Append appends the message to b. Links beyond MaxLinks are left out, and so are
// not known to the manager.
func (m Hello) Append(b []byte) []byte {
	links := m.Links[:min(len(m.Links), MaxLinks)]
	b = appendHeader(b, TypeHello, helloSize+len(links)*liveSize, m.ID)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(links)))
	b = append(b, 0, 0, 0, 0)
	for i := range links {
		b = append(b, links[i].UUID[:]...)
		b = append(b, links[i].Attachment[:]...)
		b = binary.LittleEndian.AppendUint64(b, links[i].Generation)
	}
	return b
}
