package vhost

import "encoding/binary"

// MaxPayload is how much payload a packet has at most: the kernel refuses a longer one
// (VIRTIO_VSOCK_MAX_PKT_BUF_SIZE).
const MaxPayload = 64 << 10

// Header is virtio_vsock_hdr but for the CIDs and the length (uapi/linux/virtio_vsock.h).
// Source and destination ports are as on the wire: of a packet from Receive the source
// is a socket of this kernel, of one for Send the destination is.
type Header struct {
	Src, Dst uint32
	Type, Op uint16
	Flags    uint32
	BufAlloc uint32 // receive memory of the sender's socket, in bytes
	FwdCnt   uint32 // bytes its program has taken, wraps
}

// Types of sockets and operations (VIRTIO_VSOCK_TYPE_*, VIRTIO_VSOCK_OP_*). Payload
// comes with opRW only.
const (
	typeStream    = 1
	typeSeqpacket = 2

	opRequest       = 1
	opReset         = 3
	opRW            = 5
	opCreditRequest = 7
)

// hostCID is the kernel at the other side of every instance (VMADDR_CID_HOST). It is
// that too where the machine has a CID of its own.
const hostCID = 2

// headerSize is the size of virtio_vsock_hdr, which is packed and little-endian:
//
//	 0 src_cid u64    8 dst_cid u64    16 src_port u32  20 dst_port u32  24 len u32
//	28 type u16      30 op u16         32 flags u32     36 buf_alloc u32  40 fwd_cnt u32
const headerSize = 44

// packet is all of virtio_vsock_hdr.
type packet struct {
	Header
	srcCID, dstCID uint64
	size           uint32 // len: bytes of payload
}

func (p *packet) encode(b []byte) {
	_ = b[headerSize-1]
	le := binary.LittleEndian
	le.PutUint64(b[0:], p.srcCID)
	le.PutUint64(b[8:], p.dstCID)
	le.PutUint32(b[16:], p.Src)
	le.PutUint32(b[20:], p.Dst)
	le.PutUint32(b[24:], p.size)
	le.PutUint16(b[28:], p.Type)
	le.PutUint16(b[30:], p.Op)
	le.PutUint32(b[32:], p.Flags)
	le.PutUint32(b[36:], p.BufAlloc)
	le.PutUint32(b[40:], p.FwdCnt)
}

// decodePacket reads each field once (rule R2).
func decodePacket(b []byte) packet {
	_ = b[headerSize-1]
	le := binary.LittleEndian
	return packet{
		srcCID: le.Uint64(b[0:]),
		dstCID: le.Uint64(b[8:]),
		size:   le.Uint32(b[24:]),
		Header: Header{
			Src:      le.Uint32(b[16:]),
			Dst:      le.Uint32(b[20:]),
			Type:     le.Uint16(b[28:]),
			Op:       le.Uint16(b[30:]),
			Flags:    le.Uint32(b[32:]),
			BufAlloc: le.Uint32(b[36:]),
			FwdCnt:   le.Uint32(b[40:]),
		},
	}
}

// known says that the packet goes from the kernel to cid and is of a kind that there
// was when this was written.
func (p *packet) known(cid uint32) bool {
	return p.srcCID == hostCID && p.dstCID == uint64(cid) &&
		(p.Type == typeStream || p.Type == typeSeqpacket) &&
		p.Op >= opRequest && p.Op <= opCreditRequest &&
		(p.Op == opRW || p.size == 0)
}
