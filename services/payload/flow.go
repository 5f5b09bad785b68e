package payload

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

const (
	bufferSize = 32 << 10
	// askTime is how often the reader's end of a silent flow is asked whether it
	// is still there.
	askTime = 10 * time.Second
)

// source is where a flow comes from: a connection or a pipe.
type source interface {
	io.Reader
	SetReadDeadline(time.Time) error
}

// sink is where a flow goes to.
type sink interface {
	io.Writer
	SetWriteDeadline(time.Time) error
}

// flow carries bytes one way. Nothing is allocated for a message, and no timer set
// anew.
type flow struct {
	src source
	dst sink
	// ask makes the flow notice that the sink's other end is lost while there is
	// nothing to write: by a write of no bytes, which a lost connection refuses.
	ask bool
	// untaken is how long one write may take; 0: for ever.
	untaken time.Duration

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
		case f.ask && errors.Is(err, os.ErrDeadlineExceeded):
			if to := f.write(nil); to != nil {
				return nil, to
			}
			if err := f.expect(); err != nil {
				return err, nil
			}
		default:
			return err, nil
		}
	}
}

// expect sets when the sink is asked next.
func (f *flow) expect() error {
	if !f.ask {
		return nil
	}
	return f.src.SetReadDeadline(time.Now().Add(askTime))
}

// write writes within the deadline, which is moved only when half of it is over.
func (f *flow) write(p []byte) error {
	if now := time.Now(); f.untaken > 0 && f.until.Sub(now) < f.untaken/2 {
		f.until = now.Add(f.untaken)
		if err := f.dst.SetWriteDeadline(f.until); err != nil {
			return err
		}
	}
	_, err := f.dst.Write(p)
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
	if err := f.expect(); err != nil {
		return err, nil
	}
	return f.run(buffer[:])
}
