package mux

import "time"

// Transport is the link below a Session: two byte rings, one a direction, and
// a way to wait. It is cut so that no byte is copied and no goroutine handed
// over for the layering's sake.
//
// Peek, Discard and Wait are the receive side, Reserve, Commit and Want the
// send side. Each side is used by one goroutine at a time, both sides at once.
// Flush, Wake and Fail may be called by any goroutine at any time.
//
// Positions move by whole frames only: what Peek shows always ends where a
// frame ends, once it shows all that was published.
type Transport interface {
	// Peek returns what has arrived and was not discarded, as at most two
	// pieces. It returns at least min bytes if the other side has published so
	// many, else what there is, and never waits. The pieces may be memory that
	// the other side can change: every byte of them is read at most once, and
	// none after Discard.
	Peek(min int) (a, b []byte, err error)
	// Discard gives the first n peeked bytes back to the other side.
	Discard(n int)

	// Reserve returns room for exactly n bytes as at most two pieces, or nil if
	// there is not so much. The room is write-only. A second Reserve before
	// Commit replaces the first.
	Reserve(n int) (a, b []byte)
	// Commit publishes the n bytes of the last Reserve.
	Commit(n int) error
	// Want asks the other side that Wait returns once n bytes are free; 0 takes
	// the wish back.
	Want(n int)

	// Flush wakes the other side if Commit, Want or Discard left it something
	// to do and it may be asleep.
	Flush() error
	// Wait returns nil when there may be something new to Peek or to Reserve,
	// when Wake was called, or after d (0: no limit). It asks the other side's
	// state at least once a call, so that calling it every second is the probe
	// of a quiet link. It returns the link's error when the link has ended.
	Wait(d time.Duration) error
	// Wake makes the current Wait, or the next one, return.
	Wake()

	// MaxPayload is the largest payload of a frame in bytes: min(64 KiB, ring/4).
	MaxPayload() int
	// Fail ends the link for the given reason, which Wait, Peek and Commit then
	// return. The first reason stays. Fail does not wait for the other side.
	Fail(reason error)
}
