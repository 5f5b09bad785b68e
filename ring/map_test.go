package ring_test

import "testing"

// A side that maps looks at the other side's awake when it flushes, and at no earlier
// time (W3). One that copies cannot: it knows what a Fetch has brought.
func TestFlushSparesTheNotifyOfASideThatIsSeenAwake(t *testing.T) {
	for _, c := range []struct {
		name         string
		before, then bool // the other side is awake at the Commit, at the Flush
		fetch        bool // in between
		mapped, copy int64
	}{
		{"asleep", false, false, false, 1, 1},
		{"awake", true, true, false, 0, 1},
		{"awake, and seen by a Fetch", true, true, true, 0, 0},
		{"goes to sleep before the Flush", true, false, false, 1, 1},
		{"wakes up before the Flush", false, true, false, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			for kind, want := range map[kind]int64{mapMode: c.mapped, copyMode: c.copy} {
				own, peer := newPair(t, kind, size)
				peer.Awake(c.before)
				if a, _ := own.Reserve(8); len(a) != 8 {
					t.Fatal("no room")
				}
				if err := own.Commit(8); err != nil {
					t.Fatal(err)
				}
				peer.Awake(c.then)
				if c.fetch {
					own.fetch(t)
				}
				for range 2 { // what was spared is not due any more
					if err := own.Flush(); err != nil {
						t.Fatal(err)
					}
				}
				if got := own.notifyTx.Load(); got != want {
					t.Errorf("%s: %d notifies, want %d", kind, got, want)
				}
			}
		})
	}
}

// Space that the other side waits for is news like data.
func TestFlushSparesTheNotifyOfSpaceToo(t *testing.T) {
	for _, awake := range []bool{false, true} {
		own, peer := newPair(t, mapMode, size)
		peer.send(t, pattern(0, size))
		peer.Want(100)
		own.fetch(t)
		own.peek(t, size)
		peer.Awake(awake)
		own.Discard(100)
		if err := own.Flush(); err != nil {
			t.Fatal(err)
		}
		if got := own.notifyRx.Load() == 0; got != awake {
			t.Errorf("awake %v: %d notifies of space", awake, own.notifyRx.Load())
		}
	}
}

// Stirred sees what a Fetch would call news of positions, and nothing that it would not.
func TestStirredSeesPositions(t *testing.T) {
	own, peer := newPair(t, mapMode, size)
	if own.Stirred() {
		t.Error("nothing has happened")
	}
	peer.send(t, pattern(0, 8))
	if !own.Stirred() {
		t.Error("data came")
	}
	own.fetch(t)
	own.send(t, pattern(0, 8))
	if own.Stirred() {
		t.Error("all was fetched")
	}
	peer.fetch(t)
	peer.peek(t, 8)
	peer.Discard(8)
	if own.Stirred() {
		t.Error("space came that nobody wants")
	}
	own.Want(size)
	if !own.Stirred() {
		t.Error("space came")
	}
}
