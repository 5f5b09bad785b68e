package ring_test

import "testing"

// Stirred sees each move of a position that a Fetch would bring as news, and is calm
// after a Fetch. A wish for space is no position: it takes a Fetch to see that.
func TestStirredSeesEachMoveOfAPosition(t *testing.T) {
	own, peer := newPair(t, mapMode, size)
	calm := func(when string, want bool) {
		t.Helper()
		if own.Stirred() == want {
			t.Errorf("%s: stirred is %v", when, !want)
		}
	}
	calm("nothing has happened", true)
	peer.send(t, pattern(0, 8))
	calm("the other side has sent", false)
	calm("it is asked again", false)
	own.fetch(t)
	calm("after a Fetch", true)
	own.peek(t, 8)
	own.Discard(8)
	calm("after a Discard of our own", true)
	own.send(t, pattern(0, 8))
	calm("after a Commit of our own", true)
	peer.fetch(t)
	peer.peek(t, 8)
	peer.Discard(8)
	calm("the other side has made room that nobody wants", true)
	own.Want(size)
	calm("the other side has made the room that is wanted", false)
	own.fetch(t)
	own.Want(0)
	own.send(t, pattern(8, 16))
	own.Want(size)
	calm("there is not as much room as is wanted", true)
	own.fetch(t)
	calm("after a Fetch", true)
	peer.Want(size)
	peer.Awake(true)
	calm("the other side wants room, and polls", true)
}

func TestPeerAwakeIsAsOfTheLastFetch(t *testing.T) {
	for _, k := range []kind{copyMode, mapMode} {
		own, peer := newPair(t, k, size)
		for _, on := range []bool{true, false} {
			peer.Awake(on)
			if own.PeerAwake() == on {
				t.Errorf("%s: awake is known to be %v before the Fetch", k, on)
			}
			own.fetch(t)
			if own.PeerAwake() != on {
				t.Errorf("%s: awake is %v, and known to be %v", k, on, !on)
			}
		}
	}
}

func TestStirredAllocatesNothing(t *testing.T) {
	own, _ := newPair(t, mapMode, size)
	if n := testing.AllocsPerRun(100, func() { _ = own.Stirred() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
