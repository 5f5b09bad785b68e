package mux

import "time"

// Foreign is a Transport that may lie in memory that can cease to be there while it is
// read: by who reads peeked bytes, and by Look, Poll and Rest.
type Foreign interface {
	// Mapped reports whether that is so for this Transport. It does not change.
	Mapped() bool
	// Fault takes what a goroutine that did so has recovered. If that is a fault of this
	// memory the link has ended, and Fault returns why, which is what Sleep, Look, Poll
	// and Peek return from then on; nil: it is another panic.
	Fault(recovered any) error
}

// Transport is the link below a Session: two byte rings, one a direction, and
// ways to wait. It is cut so that no byte is copied and no goroutine handed over
// for the layering's sake.
//
// Peek, Discard, Look and Poll are the receive side, Free, Reserve, Commit and Want the
// send side. Each side is used by one goroutine at a time, both sides at once.
// Sleep is called by one goroutine beside them; Flush, Wake, Hot and Fail may be
// called by any goroutine at any time.
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
	// Discard ends the use of the first n peeked bytes: the other side may have their
	// room, if it has it not since Peek.
	Discard(n int)

	// Free returns how many bytes Reserve has room for.
	Free() int
	// Reserve returns room for exactly n bytes as at most two pieces, or nil if
	// there is not so much. The room is write-only. A second Reserve before
	// Commit replaces the first.
	Reserve(n int) (a, b []byte)
	// Commit publishes the n bytes of the last Reserve.
	Commit(n int) error
	// Want asks the other side that Sleep returns once n bytes are free; 0 takes
	// the wish back.
	Want(n int)

	// Flush wakes the other side if Commit, Want or Discard left it something
	// to do and it may be asleep. Between a Poll that found something and the next
	// Look, Poll or Rest it may leave that to those.
	Flush() error

	// Look asks the other side's state once: what it has sent, and what room
	// there is. It never waits. Calling it every second is the probe of a quiet
	// link.
	Look() error
	// Hot says that the other side is expected to act so soon that Poll pays.
	Hot() bool
	// Poll looks for something new to Peek or to Reserve for a short time, in
	// which it may keep the processor. After news another Look, Poll or Rest has
	// to follow very soon, as the other side may rely on that; false is a Rest
	// that found none.
	Poll() (news bool, err error)
	// Rest ends a row of Polls, before nobody looks any more: the other side is
	// told so. If that finds news, they come first. Without a Poll before it does
	// nothing.
	Rest() (news bool, err error)
	// Sleep returns when there may be something new, until Wake was called, or for
	// d (0: no limit). It touches no ring: Look comes after it. It returns the
	// link's error when the link has ended.
	Sleep(d time.Duration) error
	// Wake makes the current Sleep, or the next one, return.
	Wake()

	// MaxPayload is the largest payload of a frame in bytes: min(64 KiB, ring/4).
	MaxPayload() int
	// Fail ends the link for the given reason, which Sleep, Look, Poll, Peek and
	// Commit then return. The first reason stays. Fail does not wait for the other
	// side.
	Fail(reason error)
}
