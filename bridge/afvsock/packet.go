package afvsock

import (
	"xvsock/bridge/vhost"
	"xvsock/mux"
)

// Flags of virtio_vsock_hdr (uapi/linux/virtio_vsock.h).
const (
	shutdownFlags  = 3 // VIRTIO_VSOCK_SHUTDOWN_RCV and _SEND
	seqpacketFlags = 3 // VIRTIO_VSOCK_SEQ_EOM and _EOR
)

func validType(t uint16) bool { return t == mux.TypeStream || t == mux.TypeSeqpacket }

// check reports whether a packet with n bytes of payload may pass, whoever sent it:
// the kernel drops one that lies about itself, and never gives its buffer back; another
// domain ends the link for it.
func check(p *mux.Packet, n int) bool {
	switch {
	case !validType(p.Type):
		return false
	case p.Op < mux.OpRequest || p.Op > mux.OpCreditRequest:
		return false
	case p.Op != mux.OpData && n != 0, n > vhost.MaxPayload:
		return false
	default:
		return mux.ValidPort(p.Local) && mux.ValidPort(p.Remote)
	}
}

// flagsOf returns of the flags of a packet those that its operation has. RST has
// none: the reason is of links alone.
func flagsOf(p *mux.Packet) uint32 {
	switch {
	case p.Op == mux.OpShutdown:
		return p.Flags & shutdownFlags
	case p.Op == mux.OpData && p.Type == mux.TypeSeqpacket:
		return p.Flags & seqpacketFlags
	default:
		return 0
	}
}

// fromKernel is a packet of the kernel as a link has it.
func fromKernel(h vhost.Header) mux.Packet {
	p := mux.Packet{
		Local: h.Src, Remote: h.Dst, Type: h.Type, Op: h.Op, Flags: h.Flags,
		BufAlloc: h.BufAlloc, FwdCnt: h.FwdCnt,
	}
	p.Flags = flagsOf(&p)
	return p
}

// toKernel is a packet of a link as the kernel has it.
func toKernel(p *mux.Packet) vhost.Header {
	return vhost.Header{
		Src: p.Remote, Dst: p.Local, Type: p.Type, Op: p.Op, Flags: flagsOf(p),
		BufAlloc: p.BufAlloc, FwdCnt: p.FwdCnt,
	}
}

// resetOf is the RST that tells the kernel's socket of p that its connection is over.
func resetOf(p mux.Packet) vhost.Header {
	return vhost.Header{Src: p.Remote, Dst: p.Local, Type: p.Type, Op: mux.OpReset}
}
