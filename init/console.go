package pid1

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// consoleBuffer is how many bytes wait for a slow console, some 600 lines.
const consoleBuffer = 64 << 10

// Console is an io.Writer that never waits for what is behind it. A domain's
// console is a ring that a daemon in another domain empties, at a rate limit
// and not at all while it is stopped; without this, one log line would stop
// whoever wrote it, for as long.
//
// Each Write is kept whole or, when the buffer is full, dropped whole and
// counted; the count is printed where the lines are missing. Safe for
// concurrent use.
type Console struct {
	w io.Writer

	mu      sync.Mutex
	pending []byte        // not yet taken by the writing goroutine
	dropped int           // writes dropped since pending was last taken
	busy    bool          // the writing goroutine runs
	idle    chan struct{} // closed when it ends; nil when it does not run
}

// NewConsole returns a Console that writes to w. It starts a goroutine only
// while there is something to write.
func NewConsole(w io.Writer) *Console { return &Console{w: w} }

// Write takes p without waiting. It always succeeds.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending)+len(p) > consoleBuffer {
		c.dropped++
		return len(p), nil
	}
	c.pending = append(c.pending, p...)
	if !c.busy {
		c.busy, c.idle = true, make(chan struct{})
		go c.drain(c.idle)
	}
	return len(p), nil
}

// drain writes until nothing is left, and ends.
func (c *Console) drain(idle chan struct{}) {
	defer close(idle)
	for {
		c.mu.Lock()
		lines := c.pending
		if c.dropped > 0 {
			lines = fmt.Appendf(lines, "xvsock: console too slow: %d lines dropped\n", c.dropped)
		}
		c.pending, c.dropped = nil, 0
		c.busy = len(lines) > 0
		c.mu.Unlock()
		if len(lines) == 0 {
			return
		}
		// There is nowhere to say that the console is broken.
		_, _ = c.w.Write(lines)
	}
}

// Flush returns when all that was written before the call is out, or with
// ctx's error.
func (c *Console) Flush(ctx context.Context) error {
	c.mu.Lock()
	idle := c.idle
	c.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
