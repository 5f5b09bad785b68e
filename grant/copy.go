package grant

import (
	"fmt"
	"syscall"

	"xvsock/internal/sys"
	"xvsock/xen"
)

// Copy implements Copier. A segment that does not keep to the rules of Segment
// is the caller's mistake: nothing is copied and the error wraps EINVAL. A
// segment that fails does not stop those after it. If the call itself fails, the
// segments that it was about, and those after them, carry StatusUnset.
func (k *Kernel) Copy(segs []Segment) error {
	if err := prepare(segs); err != nil {
		return err
	}
	for rest := segs; len(rest) > 0; {
		batch := rest[:batchLen(rest)]
		rest = rest[len(batch):]
		if err := k.copyBatch(batch); err != nil {
			return fmt.Errorf("copy %d segments, domain %v first: %w", len(segs), segs[0].Domain, err)
		}
	}
	return verdict(segs)
}

// prepare checks the segments and takes their old statuses away.
func prepare(segs []Segment) error {
	for i := range segs {
		segs[i].Status = StatusUnset
	}
	for i := range segs {
		s := &segs[i]
		if len(s.Local) == 0 || len(s.Local) > xen.PageSize || s.Offset < 0 || s.Offset > xen.PageSize-len(s.Local) {
			return fmt.Errorf("copy segment %d of %d: %d bytes at offset %d of a page: %w",
				i, len(segs), len(s.Local), s.Offset, syscall.EINVAL)
		}
		if !s.Domain.Valid() {
			return fmt.Errorf("copy segment %d of %d: %w: %v: %w", i, len(segs), xen.ErrDomID, s.Domain, syscall.EINVAL)
		}
	}
	return nil
}

// batchLen is how many of the first segments go into one call: as many as one
// hypercall takes, all in the direction of the first, because a direction has a
// type of its own (sys.CopyIn).
func batchLen(segs []Segment) int {
	n := 1
	for n < len(segs) && n < sys.CopyBatch && segs[n].Write == segs[0].Write {
		n++
	}
	return n
}

// copyBatch executes segments that batchLen put together. The kernel's
// structures live on the stack, so a copy allocates nothing.
func (k *Kernel) copyBatch(segs []Segment) error {
	if segs[0].Write {
		var out [sys.CopyBatch]sys.CopyOut
		fillOut(&out, segs)
		if err := sys.GrantCopyOut(k.gntdev, out[:len(segs)]); err != nil {
			return err
		}
		for i := range segs {
			segs[i].Status = Status(out[i].Status())
		}
		return nil
	}
	var in [sys.CopyBatch]sys.CopyIn
	fillIn(&in, segs)
	if err := sys.GrantCopyIn(k.gntdev, in[:len(segs)]); err != nil {
		return err
	}
	for i := range segs {
		segs[i].Status = Status(in[i].Status())
	}
	return nil
}

func fillIn(in *[sys.CopyBatch]sys.CopyIn, segs []Segment) {
	for i := range segs {
		in[i].Set(foreign(&segs[i]), segs[i].Local)
	}
}

func fillOut(out *[sys.CopyBatch]sys.CopyOut, segs []Segment) {
	for i := range segs {
		out[i].Set(foreign(&segs[i]), segs[i].Local)
	}
}

func foreign(s *Segment) sys.Foreign {
	return sys.Foreign{Ref: uint32(s.Ref), Offset: uint16(s.Offset), DomID: uint16(s.Domain)}
}

// verdict is nil if every segment was copied, else it names the first that was
// not.
func verdict(segs []Segment) error {
	for i := range segs {
		if s := &segs[i]; s.Status != StatusOkay {
			return fmt.Errorf("copy segment %d of %d, reference %d of domain %v: %w", i, len(segs), s.Ref, s.Domain, s.Status)
		}
	}
	return nil
}
