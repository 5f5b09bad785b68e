package conformance

import (
	"testing"

	"xvsock/grant"
)

// liveByte is where the cases let the kernel clear a byte.
const liveByte = 64

func revokeCases() []Case {
	return []Case{
		{"revoking clears the byte and sends the event", revokeNotifies},
		{"the death of the process clears the byte, sends the event and revokes", deathNotifies},
		{"the event of a revocation comes although its channel was closed", revokeAfterClose},
		{"the last OnRevoke is the one that counts", revokeTwiceSet},
		{"OnRevoke refuses a port that is not bound, and a byte beyond the pages", revokeBadPort},
		{"revoking clears the byte and sends nothing, if no event was asked for", revokeClears},
		{"the death of the process clears the byte and sends nothing, if no event was asked for", deathClears},
		{"ClearOnRevoke refuses a byte beyond the pages", clearBadByte},
		{"the death of the process closes its ports without a word", deathIsSilent},
	}
}

// watched is a page of far that near maps, and whose end near hears of.
func watched(t *testing.T, near, far tester) (pages, mapping shared, ear, mouth channel) {
	t.Helper()
	pages = far.share(near.ID(), 1, grant.ReadOnly)
	pages.store(liveByte-1, "\xAA\x01\xAA")
	mapping = near.mapPages(pages, pages.refs...)
	ear, mouth = connect(near, far)
	pages.must(Request{Op: OnRevoke, Handle: pages.handle, Offset: liveByte, Port: mouth.port})
	return pages, mapping, ear, mouth
}

func wantCleared(t *testing.T, mapping shared) {
	t.Helper()
	if got := mapping.load(liveByte-1, 3); got != "\xAA\x00\xAA" {
		t.Fatalf("the byte and its neighbours are %x", got)
	}
}

func revokeNotifies(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages, mapping, ear, _ := watched(t, near, far)
	ear.wantQuiet()
	pages.revoke()
	ear.wantEvent()
	wantCleared(t, mapping)
}

func deathNotifies(t *testing.T, p Pair) {
	near, far := ends(t, p)
	_, mapping, ear, _ := watched(t, near, far)
	other := far.share(near.ID(), 1, grant.ReadOnly)
	near.copy(other.reading(0, 0, 8))
	far.must(Request{Op: Exit})
	ear.wantEvent()
	wantCleared(t, mapping)
	// The kernel closes a dead process's files one after the other.
	eventually(t, "the other page to be revoked", func() bool {
		r := near.Do(Request{Op: Copy, Segments: []grant.Segment{other.reading(0, 0, 8)}})
		return r.Error != nil && r.Error.Status == grant.StatusGeneralError
	})
}

func revokeAfterClose(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages, mapping, ear, mouth := watched(t, near, far)
	mouth.do(Close)
	ear.wantQuiet()
	pages.revoke()
	ear.wantEvent()
	wantCleared(t, mapping)
}

func revokeTwiceSet(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages, mapping, ear, _ := watched(t, near, far)
	ear2, mouth2 := connect(near, far)
	pages.store(liveByte+8, "\x01")
	pages.must(Request{Op: OnRevoke, Handle: pages.handle, Offset: liveByte + 8, Port: mouth2.port})
	pages.revoke()
	ear2.wantEvent()
	ear.wantQuiet()
	if got := mapping.load(liveByte, 9); got[0] != 1 || got[8] != 0 {
		t.Fatalf("the bytes are %x", got)
	}
}

// quietlyWatched is watched, but without the event, which takes back that it was asked
// for.
func quietlyWatched(t *testing.T, near, far tester) (pages, mapping shared, ear channel) {
	t.Helper()
	pages, mapping, ear, _ = watched(t, near, far)
	pages.must(Request{Op: ClearOnRevoke, Handle: pages.handle, Offset: liveByte})
	return pages, mapping, ear
}

func revokeClears(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages, mapping, ear := quietlyWatched(t, near, far)
	pages.revoke()
	wantCleared(t, mapping)
	ear.wantQuiet()
}

func deathClears(t *testing.T, p Pair) {
	near, far := ends(t, p)
	_, mapping, ear := quietlyWatched(t, near, far)
	far.must(Request{Op: Exit})
	eventually(t, "the byte to be cleared", func() bool { return mapping.load(liveByte, 1) == "\x00" })
	wantCleared(t, mapping)
	ear.wantQuiet()
}

func clearBadByte(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 1, grant.ReadOnly)
	pages.mustFail(Request{Op: ClearOnRevoke, Handle: pages.handle, Offset: 4096})
}

func revokeBadPort(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 1, grant.ReadOnly)
	pages.mustFail(Request{Op: OnRevoke, Handle: pages.handle, Offset: liveByte, Port: 4000})
	_, mouth := connect(near, far)
	pages.mustFail(Request{Op: OnRevoke, Handle: pages.handle, Offset: 4096, Port: mouth.port})
}

func deathIsSilent(t *testing.T, p Pair) {
	near, far := ends(t, p)
	a, _ := connect(near, far)
	far.must(Request{Op: Exit})
	a.wantQuiet()
	a.do(Notify)
}
