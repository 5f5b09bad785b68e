package mux

import (
	"fmt"
	"slices"
	"testing"
)

// What becomes of a frame of the other side.
type fate int

const (
	passed  fate = iota // to the Relay
	lie                 // the connection is lost
	dropped             // as nothing
	ended               // the tuple goes, and nobody is told again
)

// Every operation in every state of a relayed tuple, of the right type and of the
// other one, does what the state machine says, and never more than end its own
// connection.
func TestEveryFrameInEveryStateOfARelayedTuple(t *testing.T) {
	states := map[string]struct {
		reach func(v *victim, k *sockets)
		fates map[uint16]fate // of lie if not named
	}{
		"asked by us": {func(v *victim, k *sockets) {
			v.must(k, local(opRequest), "")
		}, map[uint16]fate{opResponse: passed, opReset: passed}},
		"asked by them": {func(v *victim, k *sockets) {
			v.send(in(opRequest), nil)
		}, map[uint16]fate{opReset: passed}},
		"established": {func(v *victim, k *sockets) {
			v.establish(k)
		}, map[uint16]fate{opReset: passed, opShutdown: passed, opData: passed, opCreditUpdate: passed, opCreditRequest: passed}},
		"lingering": {func(v *victim, k *sockets) {
			v.establish(k)
			v.must(k, halfShut(shutBoth), "")
		}, map[uint16]fate{opReset: passed, opShutdown: passed, opData: passed, opCreditUpdate: passed, opCreditRequest: passed}},
		"resetting": {func(v *victim, k *sockets) {
			v.establish(k)
			v.clog()
			v.s.Reset(func(_, remote uint32, _ bool) bool { return remote == 1000 }, ReasonRevoked)
			k.told()
		}, map[uint16]fate{opReset: ended, opRequest: dropped, opResponse: dropped, opShutdown: dropped, opData: dropped, opCreditUpdate: dropped, opCreditRequest: dropped}},
	}
	for name, state := range states {
		for op := uint16(opRequest); op <= opCreditRequest; op++ {
			for _, typ := range []uint16{typeStream, typeSeqpacket} {
				want := lie
				if f, known := state.fates[op]; known && (typ == typeStream || f != passed || op == opReset) {
					want = f
				}
				t.Run(fmt.Sprintf("%s, op %d of type %d", name, op, typ), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						v, k := relaying(t, Config{})
						defer v.stop()
						honest := new(sockets)
						v.must(honest, Packet{Local: 40000, Remote: 9, Type: typeStream, Op: opRequest}, "")
						v.expect(opRequest)
						state.reach(v, k)
						if name != "resetting" { // whose RST waits for room
							v.frames()
						}
						k.take()
						h := in(op)
						h.typ = typ
						if op == opShutdown {
							h.flags = shutSend
						}
						v.send(h, nil)
						v.checkFate(k, op, want)
						v.send(header{src: 9, dst: 40000, op: opResponse}, nil)
						honest.expect(t, opResponse)
					})
				})
			}
		}
	}
}

// clog fills the ring towards the peer.
func (v *victim) clog() {
	v.t.Helper()
	for v.end.Lying() < 64<<10 {
		h := in(opShutdown)
		h.src = 5000 // of no tuple
		v.send(h, nil)
	}
}

func (v *victim) checkFate(k *sockets, op uint16, want fate) {
	v.t.Helper()
	var lies uint64
	var relayed, frames []uint16
	open := 2
	switch want {
	case passed:
		relayed = []uint16{op}
		if op == opReset {
			open = 1
		}
	case lie:
		lies, frames, open = 1, []uint16{opReset}, 1
	case ended:
		open = 1
	}
	k.expect(v.t, relayed...)
	resets, _ := k.told()
	if len(resets) != int(lies) {
		v.t.Errorf("the relay is told of %d resets, want %d", len(resets), lies)
	}
	st := v.s.Stats()
	if st.Lies != lies || st.Open != open {
		v.t.Errorf("%d lies and %d tuples, want %d and %d", st.Lies, st.Open, lies, open)
	}
	if list := v.frames(); st.Open != 2 && want != ended && !slices.Equal(ops(list), frames) ||
		lies != 0 && Reason(list[0].flags) != ReasonProtocol {
		v.t.Errorf("the peer gets %v, want %v", ops(list), frames)
	}
}

// A kernel is not to be flooded with what has no connection.
func TestFramesOfNoTupleDoNotReachARelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		for op := uint16(opResponse); op <= opCreditRequest; op++ {
			v.send(in(op), nil)
			want := []uint16{opReset}
			if op == opReset {
				want = nil
			}
			v.expect(want...)
		}
		for _, ports := range [][2]uint32{{0, 7}, {portAny, 7}, {1000, 0}, {1000, portAny}} {
			h := in(opRequest)
			h.src, h.dst = ports[0], ports[1]
			v.send(h, nil)
			v.expect(opReset)
		}
		k.expect(t)
	})
}
