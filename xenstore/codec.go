package xenstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Op is the type of a message (enum xsd_sockmsg_type in
// xen/include/public/io/xs_wire.h).
type Op uint32

// The message types that this package and package sim/xenstored know.
const (
	OpDirectory          Op = 1
	OpRead               Op = 2
	OpGetPerms           Op = 3
	OpWatch              Op = 4
	OpUnwatch            Op = 5
	OpTransactionStart   Op = 6
	OpTransactionEnd     Op = 7
	OpGetDomainPath      Op = 10
	OpWrite              Op = 11
	OpMkdir              Op = 12
	OpRemove             Op = 13
	OpSetPerms           Op = 14
	OpWatchEvent         Op = 15
	OpError              Op = 16
	OpIsDomainIntroduced Op = 17
	OpResetWatches       Op = 21
	OpDirectoryPart      Op = 22
)

// String is a word for o, as it stands in errors.
func (o Op) String() string {
	switch o {
	case OpDirectory, OpDirectoryPart:
		return "list"
	case OpRead:
		return "read"
	case OpGetPerms:
		return "get permissions"
	case OpWatch:
		return "watch"
	case OpUnwatch:
		return "unwatch"
	case OpTransactionStart:
		return "start transaction"
	case OpTransactionEnd:
		return "end transaction"
	case OpGetDomainPath:
		return "get domain path"
	case OpWrite:
		return "write"
	case OpMkdir:
		return "mkdir"
	case OpRemove:
		return "remove"
	case OpSetPerms:
		return "set permissions"
	case OpWatchEvent:
		return "watch event"
	case OpError:
		return "error"
	case OpIsDomainIntroduced:
		return "is domain introduced"
	case OpResetWatches:
		return "reset watches"
	default:
		return fmt.Sprintf("operation %d", uint32(o))
	}
}

const (
	// HeaderSize is the size of a Header on the wire, in bytes.
	HeaderSize = 16
	// MaxPayload is the most payload that a message may carry, either way
	// (XENSTORE_PAYLOAD_MAX). xenstored kills a connection that sends more.
	MaxPayload = 4096
	// MaxDevicePayload is the most that a request through /dev/xen/xenbus may
	// carry: the driver's buffer of MaxPayload bytes holds the header too
	// (drivers/xen/xenbus/xenbus_dev_frontend.c).
	MaxDevicePayload = MaxPayload - HeaderSize
)

// Header begins every message (struct xsd_sockmsg). On the wire it is four
// little-endian words: Xen's ABI uses the machine's order, and every machine
// that Xen runs on is little-endian.
type Header struct {
	Op Op
	// RequestID is echoed in the reply.
	RequestID uint32
	// TransactionID is 0 outside transactions.
	TransactionID uint32
	// Length is the size of the payload that follows, in bytes.
	Length uint32
}

// ParseHeader reads the header at the start of b, which holds at least
// HeaderSize bytes. The error wraps ErrProtocol and says that the header
// announces more than MaxPayload.
func ParseHeader(b []byte) (Header, error) {
	h := Header{
		Op:            Op(binary.LittleEndian.Uint32(b[0:])),
		RequestID:     binary.LittleEndian.Uint32(b[4:]),
		TransactionID: binary.LittleEndian.Uint32(b[8:]),
		Length:        binary.LittleEndian.Uint32(b[12:]),
	}
	if h.Length > MaxPayload {
		return h, fmt.Errorf("%w: payload of %d bytes", ErrProtocol, h.Length)
	}
	return h, nil
}

// AppendMessage appends a whole message to b. h.Length is taken from payload.
func AppendMessage(b []byte, h Header, payload []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(h.Op))
	b = binary.LittleEndian.AppendUint32(b, h.RequestID)
	b = binary.LittleEndian.AppendUint32(b, h.TransactionID)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// AppendStrings appends each string and a NUL after it.
func AppendStrings(b []byte, text ...string) []byte {
	for _, s := range text {
		b = append(append(b, s...), 0)
	}
	return b
}

// SplitStrings is the reverse of AppendStrings. The error wraps ErrProtocol and
// says that the last string does not end.
func SplitStrings(b []byte) ([]string, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if b[len(b)-1] != 0 {
		return nil, fmt.Errorf("%w: list without its last NUL", ErrProtocol)
	}
	text := make([]string, 0, bytes.Count(b, []byte{0}))
	for s := range bytes.SplitSeq(b[:len(b)-1], []byte{0}) {
		text = append(text, string(s))
	}
	return text, nil
}

// trimNUL is the text of a payload of one string. xenstored ends these with a
// NUL; the driver of /dev/xen/xenbus does so too.
func trimNUL(b []byte) string { return string(bytes.TrimSuffix(b, []byte{0})) }
