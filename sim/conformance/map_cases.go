package conformance

import (
	"testing"

	"xvsock/grant"
	"xvsock/xen"
)

func mapCases() []Case {
	return []Case{
		{"a mapping sees what the owner writes later", mapLater},
		{"a mapping of some of the pages begins at the first of them", mapSome},
		{"a writable page can be mapped", mapWritable},
		{"a write into a mapping faults, also where the page is writable", mapIsReadOnly},
		{"a page can be mapped twice, and copied beside that", mapTwice},
		{"a revoked page cannot be mapped", mapRevoked},
		{"a page granted to another domain cannot be mapped", mapStranger},
		{"a mapped page outlives its revocation", mapOutlives},
		{"a page that was unmapped before its revocation is gone with that", mapEndsFirst},
		{"a page that was revoked before it is unmapped is gone soon after", mapEndsLast},
		{"a mapped page outlives the process of its owner", mapOutlivesProcess},
	}
}

func mapLater(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 3, grant.ReadOnly)
	m := near.mapPages(pages, pages.refs...)
	for _, word := range []string{"first", "later"} {
		pages.store(2*xen.PageSize, word)
		if got := m.load(2*xen.PageSize, 5); got != word {
			t.Fatalf("the mapping shows %q, want %q", got, word)
		}
	}
	for range 2 { // the second call does nothing
		m.must(Request{Op: Unmap, Handle: m.handle})
	}
}

func mapSome(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 4, grant.ReadOnly)
	m := near.mapPages(pages, pages.refs[1:3]...)
	pages.store(xen.PageSize, "one")
	pages.store(2*xen.PageSize, "two")
	if got := m.load(0, 3) + m.load(xen.PageSize, 3); got != "onetwo" {
		t.Fatalf("the mapping shows %q", got)
	}
}

func mapWritable(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 1, grant.Writable)
	pages.store(0, "seen")
	if got := near.mapPages(pages, pages.refs...).load(0, 4); got != "seen" {
		t.Fatalf("the mapping shows %q", got)
	}
}

func mapRevoked(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 2, grant.ReadOnly)
	pages.revoke()
	near.mustFail(Request{Op: Map, Domain: far.ID(), Refs: pages.refs})
	near.mustFail(Request{Op: Map, Domain: far.ID(), Refs: []grant.Ref{0xFFFF_FFFF}})
	near.mustFail(Request{Op: Map, Domain: p.Stranger, Refs: pages.refs})
	near.mustFail(Request{Op: Map, Domain: far.ID()})
}

func mapStranger(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(p.Stranger, 1, grant.ReadOnly)
	near.mustFail(Request{Op: Map, Domain: far.ID(), Refs: pages.refs})
}

// mapOutlives also shows why copy statuses alone cannot tell a domain that maps
// a page that it was revoked: Linux keeps the table entry while it is in use.
func mapOutlives(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 1, grant.ReadOnly)
	pages.store(0, "still here")
	m := near.mapPages(pages, pages.refs...)
	pages.revoke()
	if got := m.load(0, 10); got != "still here" {
		t.Fatalf("the mapping shows %q", got)
	}
	if got := near.copy(pages.reading(0, 0, 10)); got != "still here" {
		t.Fatalf("the copy read %q", got)
	}
	fresh := far.share(near.ID(), 1, grant.ReadOnly)
	if fresh.refs[0] == pages.refs[0] {
		t.Fatalf("reference %d was given out again while it is mapped", fresh.refs[0])
	}
}

func mapIsReadOnly(t *testing.T, p Pair) {
	if !p.Real {
		t.Skip("a simulated mapping is its owner's own memory")
	}
	near, far := ends(t, p)
	for _, access := range []grant.Access{grant.ReadOnly, grant.Writable} {
		pages := far.share(near.ID(), 1, access)
		pages.store(0, "mine")
		m := near.mapPages(pages, pages.refs...)
		near.mustFail(Request{Op: Store, Handle: m.handle, Data: []byte("your")})
		if got := pages.load(0, 4) + m.load(0, 4); got != "minemine" {
			t.Fatalf("the page holds %q", got)
		}
	}
}

func mapTwice(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 1, grant.ReadOnly)
	first, second := near.mapPages(pages, pages.refs...), near.mapPages(pages, pages.refs...)
	pages.store(8, "one page")
	for _, got := range []string{first.load(8, 8), second.load(8, 8), near.copy(pages.reading(0, 8, 8))} {
		if got != "one page" {
			t.Fatalf("one way shows %q", got)
		}
	}
	near.must(Request{Op: Unmap, Handle: first.handle})
	if got := second.load(8, 8); got != "one page" {
		t.Fatalf("after the first was unmapped the second shows %q", got)
	}
}

func mapEndsFirst(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 1, grant.ReadOnly)
	pages.store(0, "page")
	m := near.mapPages(pages, pages.refs...)
	near.must(Request{Op: Unmap, Handle: m.handle})
	if got := near.copy(pages.reading(0, 0, 4)); got != "page" {
		t.Fatalf("the copy read %q", got)
	}
	pages.revoke()
	near.copyStatus(grant.StatusGeneralError, pages.reading(0, 0, 4))
}

// mapEndsLast: Linux tries again now and then to take back what was in use.
func mapEndsLast(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 1, grant.ReadOnly)
	m := near.mapPages(pages, pages.refs...)
	pages.revoke()
	near.must(Request{Op: Unmap, Handle: m.handle})
	eventually(t, "the page to be gone", func() bool {
		r := near.Do(Request{Op: Copy, Segments: []grant.Segment{pages.reading(0, 0, 4)}})
		return r.Error != nil && r.Error.Status == grant.StatusGeneralError
	})
}

// mapOutlivesProcess: only what the kernel writes there tells of the end.
func mapOutlivesProcess(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 1, grant.ReadOnly)
	pages.store(liveByte-5, "still\x01")
	pages.must(Request{Op: ClearOnRevoke, Handle: pages.handle, Offset: liveByte})
	m := near.mapPages(pages, pages.refs...)
	far.must(Request{Op: Exit})
	eventually(t, "the byte to be cleared", func() bool { return m.load(liveByte, 1) == "\x00" })
	if got := m.load(liveByte-5, 5); got != "still" {
		t.Fatalf("the mapping shows %q", got)
	}
}
