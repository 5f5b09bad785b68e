package logs

import (
	"cmp"
	"log/slog"
	"sync"
)

const (
	// DefaultLines is how many lines a Buffer keeps unless told otherwise.
	DefaultLines = 1024
	// MaxLines is the most lines that a Buffer keeps.
	MaxLines = 8192
	// MaxText is the most bytes of a line's text; a longer one is cut, and ends in
	// "...".
	MaxText = 1000
)

// Line is a record of the log. Its JSON shape only ever grows.
type Line struct {
	Position uint64     `json:"position"`
	T        float64    `json:"t"` // seconds since the start that Handler was given
	Level    slog.Level `json:"level"`
	Text     string     `json:"text"` // printable, in the form of slog.TextHandler
}

// Buffer keeps the last lines of a log, MaxText bytes each at most. They are numbered
// from 0 by position. All methods may be called by any goroutine; to add a line waits
// for no reader.
type Buffer struct {
	limit uint64

	mu      sync.Mutex
	ring    []Line        // the line of position p is at p % limit
	next    uint64        // the position of the next line
	changed chan struct{} // closed with the next line; nil while nobody waits for it
}

// NewBuffer returns a buffer that keeps the last lines (0: DefaultLines), at most
// MaxLines.
func NewBuffer(lines int) *Buffer {
	return &Buffer{limit: uint64(cmp.Or(min(max(lines, 0), MaxLines), DefaultLines))}
}

// add adds a line and gives it its position.
func (b *Buffer) add(l Line) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.Position = b.next
	if uint64(len(b.ring)) < b.limit {
		b.ring = append(b.ring, l)
	} else {
		b.ring[b.next%b.limit] = l
	}
	b.next++
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// bounds returns the position of the oldest line and that of the next one.
func (b *Buffer) bounds() (oldest, next uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.oldest(), b.next
}

// oldest is called with mu held.
func (b *Buffer) oldest() uint64 { return b.next - uint64(len(b.ring)) }

// read returns lines from a position up to before end, at most limit, how many before
// them were lost, and the position after all of these.
func (b *Buffer) read(from, end uint64, limit int) (lines []Line, lost, position uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	end = min(end, b.next)
	position = from
	if oldest := min(b.oldest(), end); position < oldest {
		lost, position = oldest-position, oldest
	}
	for ; position < end && len(lines) < limit; position++ {
		lines = append(lines, b.ring[position%b.limit])
	}
	return lines, lost, position
}

// grown returns a channel that is closed as soon as there is a line of the position.
func (b *Buffer) grown(position uint64) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next > position {
		there := make(chan struct{})
		close(there)
		return there
	}
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.changed
}
