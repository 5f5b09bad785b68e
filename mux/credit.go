package mux

import "sync/atomic"

// peerCredit is what the other side said it can receive on a connection:
//
//	credit = buf_alloc - (sent - fwd_cnt)
//
// All three count modulo 2^32. The pump stores, senders load.
type peerCredit struct {
	word atomic.Uint64 // buf_alloc << 32 | fwd_cnt
}

// learn takes the stamp of a frame, and returns false if it acknowledges bytes
// that were never sent. A fwd_cnt that goes back is an older stamp: Linux
// stamps and queues under different locks, so frames of a kernel socket may
// cross. buf_alloc may shrink, as setsockopt allows it.
func (p *peerCredit) learn(bufAlloc, fwdCnt, sent uint32) bool {
	known := uint32(p.word.Load())
	if ahead := fwdCnt - known; ahead > sent-known {
		if ahead < 1<<31 {
			return false
		}
		fwdCnt = known
	}
	p.word.Store(uint64(bufAlloc)<<32 | uint64(fwdCnt))
	return true
}

// acknowledged returns the fwd_cnt that was learned last.
func (p *peerCredit) acknowledged() uint32 { return uint32(p.word.Load()) }

// left returns how many bytes may be sent. It never wraps: a buf_alloc below
// what is in flight leaves nothing (the fault of CVE-2026-23069).
func (p *peerCredit) left(sent uint32) uint32 {
	w := p.word.Load()
	bufAlloc, inFlight := uint32(w>>32), sent-uint32(w)
	if inFlight >= bufAlloc {
		return 0
	}
	return bufAlloc - inFlight
}
