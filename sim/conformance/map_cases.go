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
		{"a revoked page cannot be mapped", mapRevoked},
		{"a page granted to another domain cannot be mapped", mapStranger},
		{"a mapped page outlives its revocation", mapOutlives},
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
