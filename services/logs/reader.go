package logs

import (
	"context"
	"math"

	"xvsock/services/varlink"
)

const (
	// messageRoom is how many bytes of a message are filled with lines; the rest of
	// the smallest size limit is for what surrounds them.
	messageRoom = 60 << 10
	// lineRoom is more than a line takes as JSON beside its text.
	lineRoom = 128
	// linesAtOnce is how many lines are taken from the buffer in one step.
	linesAtOnce = 256
)

// reader is one Read under way.
type reader struct {
	buffer   *Buffer
	position uint64
	end      uint64 // the position to stop at; no end for one that follows
	left     uint64 // lines that may still be sent
	follow   bool
}

// begin finds out where to read from.
func begin(b *Buffer, r Request) (*reader, error) {
	oldest, next := b.bounds()
	p := &reader{buffer: b, position: oldest, end: next, left: uint64(r.Limit), follow: r.Follow}
	if r.Limit == 0 {
		p.left = math.MaxUint64
	}
	if r.Follow {
		p.end = math.MaxUint64
	}
	switch {
	case r.From == nil:
	case *r.From < 0:
		if back := -uint64(*r.From); back < next-oldest {
			p.position = next - back
		}
	case uint64(*r.From) > next:
		return nil, ErrPositionNotReached
	default:
		p.position = uint64(*r.From)
	}
	return p, nil
}

// run sends what there is, and for one that follows what there will be. It keeps
// nothing for a caller that is slow: the buffer goes on without it.
func (p *reader) run(ctx context.Context, call *varlink.Call) (any, error) {
	for {
		batch := p.next()
		if !call.More || p.left == 0 || p.position >= p.end {
			return batch, nil
		}
		if err := call.Send(batch); err != nil {
			return nil, err
		}
		if !p.follow {
			continue
		}
		select {
		case <-p.buffer.grown(p.position):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// next takes the next lines, as many as fit in a message.
func (p *reader) next() Batch {
	lines, lost, position := p.buffer.read(p.position, p.end, int(min(p.left, linesAtOnce)))
	n := fitting(lines)
	p.position = position - uint64(len(lines)-n)
	p.left -= uint64(n)
	return Batch{Position: p.position, Lost: lost, Lines: append([]Line{}, lines[:n]...)}
}

// fitting returns how many of the first lines fit in one message. Their texts are
// printable, which JSON at most doubles.
func fitting(lines []Line) int {
	room := messageRoom
	for n, l := range lines {
		if room -= lineRoom + 2*len(l.Text); room < 0 {
			return n
		}
	}
	return len(lines)
}
