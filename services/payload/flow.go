package payload

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const bufferSize = 32 << 10

// sink is where a flow goes to.
type sink interface {
	io.Writer
	SetWriteDeadline(time.Time) error
}

// flow carries bytes one way. Nothing is allocated for a message, and no timer set
// anew.
type flow struct {
	src io.Reader
	dst sink
	// untaken is how long one write may take; 0: for ever.
	untaken time.Duration
	// given counts the bytes that were taken by the sink, and those that are being
	// offered to it; may be nil.
	given *atomic.Int64

	until time.Time // the sink's deadline
}

// run carries until the source is at its end, which gives two nils, or a side fails.
func (f *flow) run(buffer []byte) (from, to error) {
	for {
		n, err := f.src.Read(buffer)
		if n > 0 {
			if to := f.write(buffer[:n]); to != nil {
				return nil, to
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil, nil
		default:
			return err, nil
		}
	}
}

// write writes within the deadline, which is moved only when half of it is over.
func (f *flow) write(p []byte) error {
	if now := time.Now(); f.untaken > 0 && f.until.Sub(now) < f.untaken/2 {
		f.until = now.Add(f.untaken)
		if err := f.dst.SetWriteDeadline(f.until); err != nil {
			return err
		}
	}
	if f.given != nil {
		f.given.Add(int64(len(p)))
	}
	n, err := f.dst.Write(p)
	if f.given != nil {
		f.given.Add(int64(n - len(p)))
	}
	return err
}

// drop is a sink for what nobody wants.
type drop struct{}

func (drop) Write(p []byte) (int, error)      { return len(p), nil }
func (drop) SetWriteDeadline(time.Time) error { return nil }

// buffers are of flows. One never carries bytes from one peer to another.
type buffers struct{ pool sync.Pool }

// run runs a flow with a buffer.
func (b *buffers) run(f *flow) (from, to error) {
	buffer, ok := b.pool.Get().(*[bufferSize]byte)
	if !ok {
		buffer = new([bufferSize]byte)
	}
	defer func() {
		clear(buffer[:])
		b.pool.Put(buffer)
	}()
	return f.run(buffer[:])
}
