package ring

import "fmt"

// Fetch learns what the other side has published since the last time. It costs
// one Copy, which brings the moving words of the other side's header and,
// speculatively, the bytes that follow those already fetched; with a mapped
// header it costs a few loads.
//
// news is true if data arrived, if space for sending grew, or if a position was
// caught in the middle of a change ("not yet"): then look at Peek and Reserve,
// and, after Awake(false), Fetch again before sleeping. Fetch may make a notify
// due, for Flush.
//
// The error is ErrGone, a *LieError, or wraps that of Copy.
// (model/ring.pml: RFetch, WFetch; model/liar.pml: Fetch, check.)
func (e *End) Fetch() (news bool, err error) {
	if err := e.dead(); err != nil {
		return false, err
	}
	// W3: only stores that came before the header is read are acknowledged by
	// what it says.
	stored := e.tx.due.stores.Load()
	m, copied, err := e.readHeader()
	if err != nil {
		return false, e.fail(err)
	}
	return e.take(m, copied, stored)
}

// readHeader fetches the moving words once, and tells how many data bytes after
// e.rx.fetched came with them.
func (e *End) readHeader() (m moving, copied int, err error) {
	if e.peer != nil {
		return e.peer.load(), 0, nil
	}
	// A copy can return success without having copied (XSA-318). Zeroes are a
	// gone peer, and never a position.
	clear(e.rx.header[:])
	segs := append(e.rx.segs[:0], Segment{Area: AreaHeader, Offset: MovingOffset, Local: e.rx.header[:]})
	segs, copied = e.rx.speculate(segs)
	// The header comes first: bytes before the producer that it shows were
	// published when they were copied.
	if err := e.copy(segs); err != nil {
		return moving{}, 0, fmt.Errorf("fetch header: %w", err)
	}
	return decodeMoving(&e.rx.header), copied, nil
}

// take checks every word of m, and only if none of them lies believes them.
func (e *End) take(m moving, copied int, stored uint64) (news bool, err error) {
	switch m.state {
	case stateUp:
	case stateGone:
		return false, e.fail(ErrGone)
	default:
		return false, e.fail(&LieError{"state", uint64(m.state), "neither up nor gone"})
	}
	room := uint64(len(e.rx.data)) - (e.rx.produced - e.rx.consumer)
	data, settledData, err := m.producer.check("producer", e.rx.produced, room)
	if err != nil {
		return false, e.fail(err)
	}
	// Our producer may have moved since the header was read; it only grows, so
	// the limit is not too small.
	consumed := e.tx.consumed.Load()
	space, settledSpace, err := m.consumer.check("consumer", consumed, e.tx.produced.Load()-consumed)
	if err != nil {
		return false, e.fail(err)
	}

	e.rx.arrived(data, copied)
	if space != 0 {
		e.tx.consumed.Store(consumed + space)
	}
	e.rx.wish(m.want)
	if awake := m.awake != 0; awake != e.peerAwake.Load() {
		e.peerAwake.Store(awake)
	}
	if m.awake != 0 {
		e.tx.due.acknowledge(stored)
		// Stores of the receive side are ours alone, so all of them came before.
		e.rx.due.acknowledge(e.rx.due.stores.Load())
	}
	moved, settled := data != 0 || space != 0, settledData && settledSpace
	e.rx.unsettled = !moved && !settled
	return moved || !settled, nil
}

// Stirred reports whether a position of the other side that matters now differs from
// what the last Fetch saw, at a fraction of a Fetch's cost: its producer, and its
// consumer while there is a Want. It is for an End whose other header is mapped; what
// it does not see is a want_space and a state.
func (e *End) Stirred() bool {
	w := e.peer.words
	return loadLE64(w.producer.value) != e.rx.produced ||
		e.tx.granted(loadLE64(w.consumer.value))
}

// PeerAwake reports whether the other side said that it polls, as of the last Fetch.
// It may be called by any goroutine.
func (e *End) PeerAwake() bool { return e.peerAwake.Load() }

// Unsettled reports whether the last Fetch brought no news but a position caught
// in the middle of a change. An honest side finishes the change at once; a hostile
// one need not, so whoever looks again on its account has to stop at some time.
func (e *End) Unsettled() bool { return e.rx.unsettled }
