package mux

import (
	"encoding/binary"
	"fmt"
)

// headerSize is the size of a frame header. Frames start at multiples of
// frameAlign; the bytes between the end of a payload and the next frame are
// written as zero and not looked at.
const (
	headerSize = 32
	frameAlign = 8
)

// Socket types, as in virtio_vsock_hdr.
const (
	typeStream    = 1
	typeSeqpacket = 2
)

// Operations, as in virtio_vsock_hdr.
const (
	opRequest       = 1
	opResponse      = 2
	opReset         = 3
	opShutdown      = 4
	opData          = 5 // VIRTIO_VSOCK_OP_RW
	opCreditUpdate  = 6
	opCreditRequest = 7
)

// Flags of SHUTDOWN: the sender of the frame will not receive, will not send.
const (
	shutReceive = 1
	shutSend    = 2
	shutBoth    = shutReceive | shutSend
)

// seqpacketFlags are the flags of RW on a SEQPACKET connection: end of message
// and end of record.
const seqpacketFlags = 3

// header is a frame's first 32 bytes, little-endian:
//
//	 0 src_port u32    4 dst_port u32    8 len u32    12 type u16   14 op u16
//	16 flags u32      20 buf_alloc u32  24 fwd_cnt u32              28 seq u32
type header struct {
	src, dst uint32
	size     uint32 // len: bytes of payload
	typ, op  uint16
	flags    uint32 // of SHUTDOWN: which ways; of RST: the Reason
	bufAlloc uint32 // receive memory of the connection, in bytes
	fwdCnt   uint32 // bytes its reader has taken, wraps
	seq      uint32 // frames of this ring before this one, wraps
}

func (h *header) encode(b *[headerSize]byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], h.src)
	le.PutUint32(b[4:], h.dst)
	le.PutUint32(b[8:], h.size)
	le.PutUint16(b[12:], h.typ)
	le.PutUint16(b[14:], h.op)
	le.PutUint32(b[16:], h.flags)
	le.PutUint32(b[20:], h.bufAlloc)
	le.PutUint32(b[24:], h.fwdCnt)
	le.PutUint32(b[28:], h.seq)
}

// decodeHeader takes a private copy, never the ring's own bytes: the other side
// may change those between two looks.
func decodeHeader(b *[headerSize]byte) header {
	le := binary.LittleEndian
	return header{
		src:      le.Uint32(b[0:]),
		dst:      le.Uint32(b[4:]),
		size:     le.Uint32(b[8:]),
		typ:      le.Uint16(b[12:]),
		op:       le.Uint16(b[14:]),
		flags:    le.Uint32(b[16:]),
		bufAlloc: le.Uint32(b[20:]),
		fwdCnt:   le.Uint32(b[24:]),
		seq:      le.Uint32(b[28:]),
	}
}

// check returns what the header lies about, or nil. RW of length 0 is legal and
// does nothing: a SEQPACKET message may be empty.
func (h *header) check(maxPayload int, seq uint32) *ProtocolError {
	switch {
	case h.seq != seq:
		return &ProtocolError{"seq", h.seq, fmt.Sprintf("frame %d is next", seq)}
	case h.typ != typeStream && h.typ != typeSeqpacket:
		return &ProtocolError{"type", uint32(h.typ), "neither STREAM nor SEQPACKET"}
	case h.op < opRequest || h.op > opCreditRequest:
		return &ProtocolError{"op", uint32(h.op), "no such operation"}
	case h.op != opData && h.size != 0:
		return &ProtocolError{"len", h.size, fmt.Sprintf("op %d has no payload", h.op)}
	case uint64(h.size) > uint64(maxPayload):
		return &ProtocolError{"len", h.size, fmt.Sprintf("at most %d on this link", maxPayload)}
	case !h.flagsKnown():
		return &ProtocolError{"flags", h.flags, fmt.Sprintf("reserved for op %d", h.op)}
	}
	return nil
}

func (h *header) flagsKnown() bool {
	switch {
	case h.op == opShutdown:
		return h.flags&^shutBoth == 0
	case h.op == opReset:
		return h.flags <= uint32(lastReason)
	case h.op == opData && h.typ == typeSeqpacket:
		return h.flags&^seqpacketFlags == 0
	default:
		return h.flags == 0
	}
}

// ProtocolError is a frame that lies about itself. It breaks the link.
type ProtocolError struct {
	Field string // of the frame header, or "frame"
	Value uint32
	Why   string
}

// Error implements error.
func (e *ProtocolError) Error() string {
	return fmt.Sprintf("frame lies: %s %d: %s", e.Field, e.Value, e.Why)
}

// frameSize is what a frame with n bytes of payload takes in the ring.
func frameSize(n int) int {
	return (headerSize + n + frameAlign - 1) &^ (frameAlign - 1)
}

// write puts a whole frame into the room that a and b are together, which it fills.
func (h *header) write(a, b []byte, payload []byte) {
	if len(b) == 0 { // mostly
		h.encode((*[headerSize]byte)(a))
		copy(a[headerSize:], payload)
		clear(a[headerSize+len(payload):])
		return
	}
	var raw [headerSize]byte
	h.encode(&raw)
	scatter(a, b, 0, raw[:])
	scatter(a, b, headerSize, payload)
	var pad [frameAlign]byte
	used := headerSize + len(payload)
	scatter(a, b, used, pad[:len(a)+len(b)-used])
}

// scatter copies src to offset at of the room that a and b are together.
func scatter(a, b []byte, at int, src []byte) {
	if at < len(a) {
		n := copy(a[at:], src)
		src, at = src[n:], len(a)
	}
	copy(b[at-len(a):], src)
}

// gather copies from offset at of what a and b are together, and fills dst.
func gather(dst, a, b []byte, at int) {
	if at < len(a) {
		n := copy(dst, a[at:])
		if n == len(dst) {
			return
		}
		dst, at = dst[n:], len(a)
	}
	copy(dst, b[at-len(a):])
}

// cut returns the n bytes from offset at of what a and b are together.
func cut(a, b []byte, at, n int) ([]byte, []byte) {
	if at >= len(a) {
		at -= len(a)
		return b[at : at+n], nil
	}
	if at+n <= len(a) {
		return a[at : at+n], nil
	}
	return a[at:], b[:at+n-len(a)]
}
