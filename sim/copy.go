package sim

import (
	"fmt"
	"syscall"

	"xvsock/grant"
	"xvsock/xen"
)

// batch is GNTDEV_COPY_BATCH of Linux: gntdev hands Xen so many operations at a
// time. grant.Kernel hands gntdev as many segments at a time, all of one
// direction.
const batch = 16

// Copy implements grant.Copier: GRANT_COPY of gntdev. A segment that fails does
// not stop those after it.
func (g *Grants) Copy(segs []grant.Segment) error {
	p := g.proc
	setStatus(segs, grant.StatusUnset)
	for i := range segs {
		if err := p.check(&segs[i]); err != nil {
			return fmt.Errorf("copy segment %d of %d: %w", i, len(segs), err)
		}
	}
	var call *Call
	if p.dom.host.hooked() {
		call = &Call{Op: OpCopy, Segments: segs}
	}
	if err := p.enter(call); err != nil {
		if err == ErrPretend {
			setStatus(segs, grant.StatusOkay)
			return nil
		}
		return fmt.Errorf("copy %d segments: %w", len(segs), err)
	}
	p.dom.counters.copy(segs)
	failed := -1
	for i := range segs {
		segs[i].Status = p.copySegment(&segs[i], call.fault(i))
		if segs[i].Status != grant.StatusOkay && failed < 0 {
			failed = i
		}
	}
	if failed < 0 {
		return nil
	}
	s := &segs[failed]
	return fmt.Errorf("copy segment %d of %d, reference %d of domain %d: %w", failed, len(segs), s.Ref, s.Domain, s.Status)
}

func setStatus(segs []grant.Segment, s grant.Status) {
	for i := range segs {
		segs[i].Status = s
	}
}

// check refuses what grant.Kernel refuses, without asking the kernel.
func (p *Process) check(s *grant.Segment) error {
	if len(s.Local) == 0 || len(s.Local) > xen.PageSize || s.Offset < 0 || s.Offset > xen.PageSize-len(s.Local) {
		return fmt.Errorf("%d bytes at offset %d: %w", len(s.Local), s.Offset, syscall.EINVAL)
	}
	if !s.Domain.Valid() {
		return p.dom.host.notDomain("copy", s.Domain)
	}
	return nil
}

// copySegment executes one segment, in two parts if a fault splits it.
func (p *Process) copySegment(s *grant.Segment, f segmentFault) grant.Status {
	if f.status != grant.StatusOkay {
		return f.status
	}
	at := min(max(f.splitAt, 0), len(s.Local))
	if f.between == nil {
		at = len(s.Local)
	}
	if status := p.copyPart(s, 0, at); status != grant.StatusOkay || f.between == nil {
		return status
	}
	f.between()
	return p.copyPart(s, at, len(s.Local))
}

// copyPart copies bytes from..to of the segment. It holds mu, so that the page
// is not revoked under it.
func (p *Process) copyPart(s *grant.Segment, from, to int) grant.Status {
	h := p.dom.host
	h.mu.RLock()
	defer h.mu.RUnlock()
	if p.dead {
		return grant.StatusGeneralError
	}
	pg, status := h.lookup(p.dom.id, s.Domain, s.Ref, s.Write)
	if status != grant.StatusOkay {
		return status
	}
	foreign, local := pg.mem[s.Offset+from:s.Offset+to], s.Local[from:to]
	if s.Write {
		copy(foreign, local)
	} else {
		readForeign(local, foreign)
	}
	return grant.StatusOkay
}
