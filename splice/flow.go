package splice

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// bufferSize is what a direction holds as long as it is open, idle or not.
const bufferSize = 16 << 10

// Sink is where a Flow goes to.
type Sink interface {
	io.Writer
	SetWriteDeadline(time.Time) error
}

// Flow carries bytes one way. Nothing is allocated for a message, and no timer set
// anew.
type Flow struct {
	Src io.Reader
	Dst Sink
	// Untaken is how long the sink may take nothing of what is written to it, at least
	// half of it and at most twice that; 0: for ever.
	Untaken time.Duration
	// Given counts the bytes that were taken by the sink, and those that are being
	// offered to it; may be nil.
	Given *atomic.Int64

	until time.Time // the sink's deadline
}

// Run carries until the source is at its end, which gives two nils, or a side fails:
// from is the source's error, to the sink's. The buffer is the caller's.
func (f *Flow) Run(buffer []byte) (from, to error) {
	for {
		n, err := f.Src.Read(buffer)
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

// write writes p. A sink that has taken some of it when the deadline passes is slow, and
// has another for the rest.
func (f *Flow) write(p []byte) error {
	for {
		n, err := f.offer(p)
		if n <= 0 || n == len(p) || f.Untaken <= 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		p = p[n:]
	}
}

// offer writes within the deadline, which is moved only when half of it is over.
func (f *Flow) offer(p []byte) (int, error) {
	if now := time.Now(); f.Untaken > 0 && f.until.Sub(now) < f.Untaken/2 {
		f.until = now.Add(f.Untaken)
		if err := f.Dst.SetWriteDeadline(f.until); err != nil {
			return 0, err
		}
	}
	if f.Given != nil {
		f.Given.Add(int64(len(p)))
	}
	n, err := f.Dst.Write(p)
	if f.Given != nil {
		f.Given.Add(int64(n - len(p)))
	}
	return n, err
}

// Drop is a Sink for what nobody wants.
type Drop struct{}

// Write takes everything.
func (Drop) Write(p []byte) (int, error) { return len(p), nil }

// SetWriteDeadline does nothing: no write waits.
func (Drop) SetWriteDeadline(time.Time) error { return nil }

// Buffers are of Flows. One never carries bytes from one peer to another. The zero
// value is ready for use, by many goroutines.
type Buffers struct{ pool sync.Pool }

// Run runs a Flow with a buffer.
func (b *Buffers) Run(f *Flow) (from, to error) {
	buffer, ok := b.pool.Get().(*[bufferSize]byte)
	if !ok {
		buffer = new([bufferSize]byte)
	}
	defer func() {
		clear(buffer[:])
		b.pool.Put(buffer)
	}()
	return f.Run(buffer[:])
}
